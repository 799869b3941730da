"""Draws a sheet of training images after augmentation, with their boxes."""

import argparse
import bisect
import math
from pathlib import Path

import cv2
import numpy as np

from utils.cli import Parser, parse_size, positive, run, seed
from utils.config import GENTLE
from utils.data.dataset import BatchSettings, BatchStream, boxes_needed
from utils.data.encoding import write_image
from utils.data.images import WRITTEN_SUFFIXES
from utils.data.trainset import TrainSource, read_training_samples
from utils.errors import UserError
from utils.inference.detections import Detections
from utils.inference.draw import draw_boxes

GAP = 6  # white pixels between the images
MAX_PIXELS = 100_000_000  # of the sheet; drawing it takes about 1.5 GB of memory
MAX_SIDE = 16383  # pixels; WebP allows no more, JPEG 65,500


def main(args: argparse.Namespace) -> None:
    """Writes the sheet."""
    size = parse_size(args.input_size)
    check_count(args.count, size)
    if args.out.suffix.lower() not in WRITTEN_SUFFIXES:
        raise UserError(f"--out {args.out}: not an image file, use contact_sheet.png for example")
    source = TrainSource(
        args.data, size, args.train_set, args.classes, args.seed, faults_file=args.faults
    )
    samples, classes = read_training_samples(source)
    needed = boxes_needed(samples, GENTLE)
    stream = BatchStream(samples, BatchSettings(size, args.count, needed, GENTLE, args.seed))
    drawn = []
    for image, boxes, labels in zip(*stream.batch(0, mosaic=True), strict=True):
        valid = labels >= 0
        objects = Detections(boxes[valid], np.ones(valid.sum()), labels[valid])
        drawn.append(draw_boxes(image, objects, classes, show_scores=False))
    write_image(args.out, arrange(drawn))
    print(args.out)


def check_count(count: int, size: tuple[int, int]) -> None:
    """Checks that a sheet of `count` images of `size` (height, width) can be drawn and stored.

    Raises:
        UserError: The sheet is too large.
    """
    if not fits(count, size):
        counts = range(1, min(count, MAX_PIXELS))
        most = bisect.bisect(counts, False, key=lambda number: not fits(number, size))
        advice = f"use at most {most} or a smaller" if most else "use a smaller"
        raise UserError(
            f"--count {count}: a sheet of images of {size[0]}x{size[1]} pixels exceeds "
            f"{MAX_PIXELS // 10**6} megapixels or {MAX_SIDE} pixels per side; {advice} "
            "--input-size"
        )


def fits(count: int, size: tuple[int, int]) -> bool:
    """Whether a sheet of `count` images of `size` (height, width) is within the limits."""
    columns = math.isqrt(count - 1) + 1
    height, width = (size[0] + GAP) * -(-count // columns), (size[1] + GAP) * columns
    return height * width <= MAX_PIXELS and max(height, width) <= MAX_SIDE


def arrange(images: list[np.ndarray]) -> np.ndarray:
    """Arranges images of one size (h, w, 3) on white, with about as many rows as columns."""
    columns = int(np.ceil(np.sqrt(len(images))))
    images = [cv2.copyMakeBorder(image, 0, GAP, 0, GAP, 0, value=(255,) * 3) for image in images]
    blank = np.full_like(images[0], 255)
    images += [blank] * (-len(images) % columns)
    rows = [np.hstack(images[i : i + columns]) for i in range(0, len(images), columns)]
    return np.vstack(rows)[:-GAP, :-GAP]


def build_parser() -> Parser:
    """Builds the parser of the flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit, default VOCdevkit")
    add("--train-set", metavar="SETS", help="image sets, such as 2007:trainval,2012:trainval")
    add("--classes", type=Path, metavar="FILE", help="class names, one per line")
    add("--input-size", default="416", metavar="N|HxW", help="image size in pixels, default 416")
    add("--count", type=positive, default=16, help="number of images, default 16")
    add("--seed", type=seed, default=0, help="seed of order and augmentation, default 0")
    add("--faults", type=Path, metavar="FILE", help="write all faults in the data as CSV")
    add("--out", type=Path, default=Path("contact_sheet.png"), help="default contact_sheet.png")
    return parser


if __name__ == "__main__":
    run(main, build_parser())
