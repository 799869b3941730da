"""Draws what the network will see in training: augmented images with their boxes, on one sheet."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from utils.cli import Parser, parse_size, run, seed
from utils.data.annotation import read_training_samples
from utils.data.augment import GENTLE
from utils.data.dataset import BatchStream, boxes_needed
from utils.data.images import IMAGE_SUFFIXES
from utils.errors import UserError
from utils.files import write_image
from utils.inference.detections import Detections
from utils.inference.draw import draw_boxes

GAP = 6  # white pixels between the images


def main(args: argparse.Namespace) -> None:
    """Writes the sheet."""
    size = parse_size(args.input_size)
    if args.count < 1:
        raise UserError(f"--count {args.count}: at least 1 image")
    if args.out.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"--out {args.out}: name a picture, such as contact_sheet.png")
    samples, classes = read_training_samples(args.data, args.train_set, args.classes, args.seed)
    stream = BatchStream(
        samples, size, args.count, boxes_needed(samples, GENTLE), GENTLE, args.seed
    )
    pictures = []
    for image, boxes, labels in zip(*stream.batch(0, mosaic=True), strict=True):
        objects = Detections(boxes[labels >= 0], np.ones((labels >= 0).sum()), labels[labels >= 0])
        pictures.append(draw_boxes(image, objects, classes, show_scores=False))
    write_image(args.out, sheet(pictures))
    print(args.out)


def sheet(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures of one size (h, w, 3) in rows, about as many as columns, on white."""
    columns = int(np.ceil(np.sqrt(len(pictures))))
    pictures = [cv2.copyMakeBorder(p, 0, GAP, 0, GAP, 0, value=(255,) * 3) for p in pictures]
    blank = np.full_like(pictures[0], 255)
    pictures += [blank] * (-len(pictures) % columns)
    rows = [np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    return np.vstack(rows)[:-GAP, :-GAP]


def build_parser() -> Parser:
    """The flags."""
    flags = Parser(__doc__)
    flags.add_argument("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit")
    flags.add_argument("--train-set", metavar="SETS", help="such as 2007:trainval,2012:trainval")
    flags.add_argument("--classes", type=Path, metavar="FILE", help="class names, one a line")
    flags.add_argument("--input-size", default="416", metavar="N|HxW", help="default 416")
    flags.add_argument("--count", type=int, default=16, help="images on the sheet, default 16")
    flags.add_argument("--seed", type=seed, default=0, help="of order and augmentation")
    flags.add_argument("--out", type=Path, default=Path("contact_sheet.png"), help="the picture")
    return flags


if __name__ == "__main__":
    run(main, build_parser())
