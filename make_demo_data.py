"""Writes a small synthetic VOC dataset, with which everything can be tried."""

import argparse
from pathlib import Path

from utils.cli import Parser, at_most, run, seed

MAX_IMAGES = 100_000  # per list: 2 GB


def main(args: argparse.Namespace) -> None:
    """Writes the dataset unless there already are images."""
    from utils.data.synthetic import write_voc

    if any(args.data.glob("VOC*/JPEGImages/*")):
        print(f"{args.data} already has images, nothing written")
        return
    write_voc(args.data, train=args.train, val=args.val, test=args.test, seed=args.seed)
    print(f"{args.data} now has {args.train + args.val + args.test} images")


def build_parser() -> Parser:
    """Builds the parser of the flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("VOCdevkit"), help="folder to write, default VOCdevkit")
    add(
        "--train",
        type=at_most(MAX_IMAGES),
        default=500,
        help="number of training images, default 500",
    )
    add(
        "--val",
        type=at_most(MAX_IMAGES),
        default=100,
        help="number of validation images, default 100",
    )
    add("--test", type=at_most(MAX_IMAGES), default=100, help="number of test images, default 100")
    add("--seed", type=seed, default=0, help="seed of the images, default 0")
    return parser


if __name__ == "__main__":
    run(main, build_parser())
