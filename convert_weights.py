"""Turns weights of other projects into a file for --weights, or a detector into a run for --run.

The other way, a run over a Darknet backbone becomes Darknet's files: give the run and --out
FILE.weights.
"""

import argparse
from pathlib import Path

from utils.cli import Parser, import_tensorflow, run
from utils.errors import UserError

TORCH = ("torchvision", "timm")
DARKNET = "darknet"
PREDECESSORS = ("yolo3-efficientnet", "yolo4-mobilenet")


def main(args: argparse.Namespace) -> None:
    """Reads, checks and writes the weights."""
    if args.source.is_dir():
        _refuse_all_but_out(args)
        import_tensorflow()
        from utils.weights.convert import write_darknet

        print(write_darknet(args.source, args.out))
        return
    backbone = args.origin in TORCH or (args.origin == DARKNET and args.backbone)
    _check(args, bool(backbone))
    import_tensorflow()
    from utils.weights import convert

    if args.origin in TORCH:
        said = convert.convert_torch_backbone(
            args.source, args.origin, args.backbone, args.width, args.out
        )
    elif backbone:
        said = convert.convert_darknet_backbone(
            args.source, args.cfg, args.backbone, args.width, args.out
        )
    else:
        said = convert.convert_detector(args.source, args.origin, args.classes, args.out, args.cfg)
    print(said)


def _check(args: argparse.Namespace, backbone: bool) -> None:
    if not args.origin:
        raise UserError(f"--from is missing, say whose file {args.source} is")
    if (args.cfg is None) is (args.origin == DARKNET):
        raise UserError("a .cfg belongs to Darknet's weights, use --from darknet --cfg FILE")
    if backbone:
        if not args.backbone:
            raise UserError("a backbone's file does not say what it is of, add --backbone NAME")
        if args.out.suffix != ".safetensors":
            raise UserError(f"--out {args.out}: name a file that ends in .safetensors")
        if args.classes:
            raise UserError("a backbone has no classes, drop --classes")
    else:
        if args.backbone or args.width:
            raise UserError(
                "a detector's file says what its backbone is, drop --backbone and --width"
            )
        if not args.classes:
            raise UserError("a detector's classes are not in its file, name them by --classes FILE")


def _refuse_all_but_out(args: argparse.Namespace) -> None:
    if args.origin or args.backbone or args.width or args.cfg or args.classes:
        raise UserError(f"{args.source} is a run and says itself what it is, give --out alone")
    if args.out.suffix != ".weights":
        raise UserError(f"--out {args.out}: a run becomes Darknet's files, name a FILE.weights")


def build_parser() -> Parser:
    """The flags of the contract."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="a .safetensors, .pth, .h5 or .weights, or a run")
    origins = (*TORCH, DARKNET, *PREDECESSORS)
    add("--from", dest="origin", choices=origins, help="whose file it is")
    add("--backbone", metavar="NAME", help="what the weights are of; a detector's file says it")
    add("--width", type=float, metavar="F", help="the backbone's width factor, default 1")
    add("--cfg", type=Path, metavar="FILE", help="the .cfg that belongs to Darknet's weights")
    add("--classes", type=Path, metavar="FILE", help="a detector's classes, one a line")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="a .safetensors, a run directory, or a .weights for a run",
    )
    return parser


if __name__ == "__main__":
    run(main, build_parser())
