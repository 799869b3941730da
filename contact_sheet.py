"""Draws a sheet of training images after augmentation, with their boxes."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from utils.cli import Parser, at_most, parse_size, run, seed
from utils.config import GENTLE
from utils.data.annotation import read_training_samples
from utils.data.dataset import BatchSettings, BatchStream, boxes_needed
from utils.data.images import IMAGE_SUFFIXES, write_image
from utils.errors import UserError
from utils.inference.detections import Detections
from utils.inference.draw import draw_boxes

GAP = 6  # white pixels between the images
MAX_COUNT = 1000
MAX_PIXELS = 2**28  # 0.8 GB, of which several copies are in memory; the default has 2.8 million


def main(args: argparse.Namespace) -> None:
    """Writes the sheet."""
    size = parse_size(args.input_size)
    pixels = args.count * size[0] * size[1]
    if pixels > MAX_PIXELS:
        raise UserError(
            f"--count {args.count} at --input-size {args.input_size}: a sheet of {pixels:,} pixels "
            f"is too large, use at most {MAX_PIXELS:,} in all"
        )
    if args.out.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"--out {args.out}: not an image file, use contact_sheet.png for example")
    samples, classes = read_training_samples(args.data, args.train_set, args.classes, args.seed)
    needed = boxes_needed(samples, GENTLE)
    stream = BatchStream(samples, BatchSettings(size, args.count, needed, GENTLE, args.seed))
    drawn = []
    for image, boxes, labels in zip(*stream.batch(0, mosaic=True), strict=True):
        valid = labels >= 0
        objects = Detections(boxes[valid], np.ones(valid.sum()), labels[valid])
        drawn.append(draw_boxes(image, objects, classes, show_scores=False))
    write_image(args.out, arrange(drawn))
    print(args.out)


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
    add("--count", type=at_most(MAX_COUNT), default=16, help="number of images, default 16")
    add("--seed", type=seed, default=0, help="seed of order and augmentation, default 0")
    add("--out", type=Path, default=Path("contact_sheet.png"), help="default contact_sheet.png")
    return parser


if __name__ == "__main__":
    run(main, build_parser())
