"""Finds nine anchors that fit a dataset by k-means on IoU, and compares them with the defaults."""

import argparse
from pathlib import Path

from nets.versions import VERSIONS
from utils.cli import Parser, parse_size, run, seed
from utils.data.anchors import anchor_fit, box_sizes, kmeans_anchors, save_anchors
from utils.data.trainset import TrainSource, read_training_samples
from utils.errors import UserError
from utils.files import written_whole
from utils.text import format_table


def main(args: argparse.Namespace) -> None:
    """Writes the anchors and prints how well they and the default ones fit the boxes."""
    size = parse_size(args.input_size)
    source = TrainSource(
        args.data, size, args.train_set, args.classes, args.seed, faults_file=args.faults
    )
    samples, _ = read_training_samples(source)
    sizes = box_sizes(samples, size)
    if not len(sizes):
        raise UserError(f"no object in {args.data} to fit anchors to: check --train-set, --classes")
    defaults = {name: VERSIONS[name].anchor_array for name in ("v3", "v4")}
    anchors = kmeans_anchors(sizes, seed=args.seed).reshape(defaults["v4"].shape)
    with written_whole(args.out) as (part,):
        save_anchors(part, anchors)
    rows = [["anchors", "best possible recall", "mean IoU with the best anchor", "", "", ""]]
    for name, candidate in ({"these": anchors} | defaults).items():
        recall, iou = anchor_fit(sizes, candidate)
        levels = (" ".join(f"{w:g},{h:g}" for w, h in level) for level in candidate)
        rows.append([name, f"{recall:.4f}", f"{iou:.4f}", *levels])
    print(format_table(rows) + f"from {len(sizes)} boxes at {args.input_size}, in {args.out}")


def build_parser() -> Parser:
    """Builds the parser of the flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit, default VOCdevkit")
    add("--train-set", metavar="SETS", help="image sets, such as 2007:trainval,2012:trainval")
    add("--classes", type=Path, metavar="FILE", help="names of the classes to use, one per line")
    add("--input-size", default="416", metavar="N|HxW", help="input size in pixels, default 416")
    add("--seed", type=seed, default=0, help="seed of k-means and of the held-out images")
    add("--faults", type=Path, metavar="FILE", help="write all faults in the data as CSV")
    add("--out", type=Path, default=Path("yolo_anchors.txt"), help="default yolo_anchors.txt")
    return parser


if __name__ == "__main__":
    run(main, build_parser())
