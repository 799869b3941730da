"""Finds nine anchors that suit a dataset by k-means on IoU, and compares them with the defaults."""

import argparse
from pathlib import Path

from nets.anchors import V3_ANCHORS, V4_ANCHORS
from utils.cli import Parser, parse_size, run, seed
from utils.data.anchors import anchor_fit, box_sizes, kmeans_anchors, save_anchors
from utils.data.annotation import read_training_samples
from utils.data.datacheck import format_table
from utils.errors import UserError


def main(args: argparse.Namespace) -> None:
    """Writes the anchors and prints how well each set of them suits the boxes."""
    size = parse_size(args.input_size)
    samples, _ = read_training_samples(args.data, args.train_set, args.classes, args.seed)
    boxes = box_sizes(samples, size)
    if not len(boxes):
        raise UserError(f"no object in {args.data} to find anchors for: see --train-set, --classes")
    anchors = kmeans_anchors(boxes, seed=args.seed).reshape(V4_ANCHORS.shape)
    save_anchors(args.out, anchors)
    rows = [["anchors", "best possible recall", "mean IoU with the best", "", "", ""]]
    for name, some in (("these", anchors), ("v3", V3_ANCHORS), ("v4", V4_ANCHORS)):
        recall, iou = anchor_fit(boxes, some)
        levels = (" ".join(f"{w:g},{h:g}" for w, h in level) for level in some)
        rows.append([name, f"{recall:.4f}", f"{iou:.4f}", *levels])
    print(format_table(rows) + f"from {len(boxes)} boxes at {args.input_size}, in {args.out}")


def build_parser() -> Parser:
    """The flags."""
    flags = Parser(__doc__)
    flags.add_argument("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit")
    flags.add_argument("--train-set", metavar="SETS", help="such as 2007:trainval,2012:trainval")
    flags.add_argument("--classes", type=Path, metavar="FILE", help="count these classes only")
    flags.add_argument("--input-size", default="416", metavar="N|HxW", help="default 416")
    flags.add_argument("--seed", type=seed, default=0, help="of k-means and of what is held out")
    flags.add_argument(
        "--out", type=Path, default=Path("yolo_anchors.txt"), help="default yolo_anchors.txt"
    )
    return flags


if __name__ == "__main__":
    run(main, build_parser())
