"""Writes a small synthetic VOC set, so that everything can be tried without own pictures."""

import argparse
from pathlib import Path

from utils.cli import Parser, positive, run, seed


def build_parser() -> Parser:
    """The flags of this script."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--data", type=Path, default=Path("VOCdevkit"), help="where to, default VOCdevkit"
    )
    for split, images in {"train": 500, "val": 100, "test": 100}.items():
        parser.add_argument(
            f"--{split}", type=positive, default=images, help=f"images to {split}, default {images}"
        )
    parser.add_argument("--seed", type=seed, default=0, help="another one gives another set")
    return parser


def main(args: argparse.Namespace) -> None:
    """Writes the set unless there are images already."""
    from utils.data.synthetic import write_voc

    if any(args.data.glob("VOC*/JPEGImages/*")):
        print(f"{args.data} has images: they are left as they are")
        return
    write_voc(args.data, train=args.train, val=args.val, test=args.test, seed=args.seed)
    print(f"{args.data} now has {args.train + args.val + args.test} images")


if __name__ == "__main__":
    run(main, build_parser())
