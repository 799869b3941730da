"""Turns weights of other projects into a file for --weights, or a detector into a run for --run."""

import argparse
from pathlib import Path

from utils.cli import Parser, import_tensorflow, run
from utils.errors import UserError

BACKBONES_OF = ("torchvision", "timm")
DETECTORS_OF = ("yolo3-efficientnet", "yolo4-mobilenet")


def main(args: argparse.Namespace) -> None:
    """Reads, checks and writes the weights."""
    detector = args.origin in DETECTORS_OF
    if detector and not args.classes:
        raise UserError("a detector's classes are not in its file, name them with --classes FILE")
    if detector and (args.backbone or args.width):
        raise UserError("a detector's file says what its backbone is, drop --backbone and --width")
    if not detector and not args.backbone:
        raise UserError("a backbone's file does not say what it is of, add --backbone NAME")
    if not detector and args.out.suffix != ".safetensors":
        raise UserError(f"--out {args.out}: name a file that ends in .safetensors")
    import_tensorflow()
    from utils.convert import convert_backbone, convert_detector

    if detector:
        print(convert_detector(args.source, args.origin, args.classes, args.out))
    else:
        print(convert_backbone(args.source, args.origin, args.backbone, args.width, args.out))


def build_parser() -> Parser:
    """The flags of the contract."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="a .safetensors, .pth, .pt or .h5")
    origins = (*BACKBONES_OF, *DETECTORS_OF)
    add("--from", dest="origin", choices=origins, required=True, help="whose file it is")
    add("--backbone", metavar="NAME", help="what the weights are of; a detector's file says it")
    add("--width", type=float, metavar="F", help="the backbone's width factor, default 1")
    add("--classes", type=Path, metavar="FILE", help="a detector's classes, one a line")
    add(
        "--out", type=Path, required=True, metavar="PATH", help="a .safetensors, or a run directory"
    )
    return parser


if __name__ == "__main__":
    run(main, build_parser())
