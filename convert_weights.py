"""Converts weights of other projects into a file for --weights, or a detector into a run for --run.

The reverse: the run of a detector over a Darknet backbone is converted into files of Darknet if
SRC is that run and --out is FILE.weights.
"""

import argparse
from pathlib import Path

from utils.cli import Parser, above_zero, import_tensorflow, run
from utils.errors import UserError
from utils.weights.origins import ORIGINS, TORCH_LIBRARIES


def main(args: argparse.Namespace) -> None:
    """Reads, checks and writes the weights, and prints a report."""
    if not args.source.exists():
        raise UserError(f"no weights file {str(args.source)!r} and no such run, check the path")
    if args.source.is_dir():
        print(_convert_run(args))
    elif args.origin in TORCH_LIBRARIES or (args.origin == "darknet" and args.backbone):
        print(_convert_backbone(args))
    else:
        print(_convert_detector(args))


def _convert_run(args: argparse.Namespace) -> str:
    if args.origin or args.backbone or args.width or args.cfg or args.classes:
        raise UserError(
            f"{args.source} is a folder: to convert a run, give --out alone; otherwise name a file"
        )
    if args.out.suffix != ".weights":
        raise UserError(f"--out {args.out}: a run is converted for Darknet, name a FILE.weights")
    import_tensorflow()
    from utils.weights.convert import write_darknet

    return write_darknet(args.source, args.out)


def _convert_backbone(args: argparse.Namespace) -> str:
    _check_cfg(args)
    if not args.backbone:
        raise UserError(f"{args.source} does not name its backbone, add --backbone NAME")
    if args.out.suffix != ".safetensors":
        raise UserError(f"--out {args.out}: name a file that ends in .safetensors")
    if args.classes:
        raise UserError("a backbone has no classes, drop --classes")
    import_tensorflow()
    from utils.weights.convert import convert_darknet_backbone, convert_torch_backbone

    name, width = args.backbone, args.width
    if args.origin in TORCH_LIBRARIES:
        return convert_torch_backbone(args.source, args.origin, name, width, args.out)
    return convert_darknet_backbone(args.source, args.cfg, name, width, args.out)


def _convert_detector(args: argparse.Namespace) -> str:
    if not args.origin:
        raise UserError(f"--from is missing, name the project that {args.source} comes from")
    _check_cfg(args)
    if args.backbone or args.width:
        raise UserError(
            "the backbone of a detector is known from its file, drop --backbone and --width"
        )
    if not args.classes:
        raise UserError(f"{args.source} does not name its classes, add --classes FILE")
    import_tensorflow()
    from utils.weights.convert import convert_detector

    return convert_detector(args.source, args.origin, args.classes, args.out, args.cfg)


def _check_cfg(args: argparse.Namespace) -> None:
    if (args.cfg is None) is (args.origin == "darknet"):
        raise UserError(
            "Darknet's weights need their .cfg, no others do: use --from darknet --cfg FILE"
        )


def build_parser() -> Parser:
    """Builds the parser of the flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="a .safetensors, .pth, .h5 or .weights, or a run")
    add("--from", dest="origin", choices=ORIGINS, help="project that the file comes from")
    add("--backbone", metavar="NAME", help="backbone of the weights; not for a detector")
    add("--width", type=above_zero, metavar="F", help="width multiplier of the backbone, default 1")
    add("--cfg", type=Path, metavar="FILE", help="the .cfg of Darknet's weights")
    add("--classes", type=Path, metavar="FILE", help="classes of a detector, one per line")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="the .safetensors or run directory to write, or the .weights if SRC is a run",
    )
    return parser


if __name__ == "__main__":
    run(main, build_parser())
