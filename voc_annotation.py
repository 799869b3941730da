"""Lists the images of a VOCdevkit and their boxes in `<year>_train.txt` and `<year>_val.txt`.

Nothing else here needs these files; they are for tools that read the predecessors' format.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from utils.cli import Parser, run, seed
from utils.data.annotation import Sample, find_classes, read_classes, read_samples
from utils.data.imagesets import ImageRef, resolve_splits, set_lists


def main(args: argparse.Namespace) -> None:
    """Writes the lists and says what they hold."""
    train, val, told = resolve_splits(args.data, args.train_set, args.val_set, args.seed)
    print(f"{args.data}: {told}", file=sys.stderr)
    classes = read_classes(args.classes) if args.classes else find_classes(train)
    args.out.mkdir(parents=True, exist_ok=True)
    for split, refs in (("train", train), ("val", val)):
        samples, faults = read_samples(refs, classes)
        for fault in faults:
            print(f"{fault.kind}: {fault.path} {fault.detail}", file=sys.stderr)
        years = defaultdict(list)
        for sample in samples:
            years[sample.image.parents[1].name.removeprefix("VOC")].append(sample)
        if any(" " in str(sample.image.resolve()) for sample in samples):
            print("warning: a path has a space, at which some readers end it", file=sys.stderr)
        for year, found in years.items():
            path = args.out / f"{year}_{split}.txt"
            path.write_text("".join(map(line, found)), encoding="utf-8")
            print(f"{path}: {len(found)} images, {sum(len(s.boxes) for s in found)} objects")
    if args.write_splits:
        write_splits(train, val)


def line(sample: Sample) -> str:
    """`path xmin,ymin,xmax,ymax,label ...`, in whole pixels inside the image."""
    boxes = np.clip(sample.boxes, 0, (sample.width, sample.height) * 2).round().astype(int)
    rows = np.column_stack([boxes, sample.labels]).tolist()
    words = [str(sample.image.resolve()), *(",".join(map(str, row)) for row in rows)]
    return " ".join(words) + "\n"


def write_splits(train: list[ImageRef], val: list[ImageRef]) -> None:
    """Writes ImageSets/Main lists of the splits where there is none of that name.

    `train` and `val` go together: one beside another's list could share images with it.
    """
    for folder in sorted({ref.voc_dir for ref in train + val}):
        lists = set_lists(folder)
        for name, refs in (("train", train), ("val", val), ("trainval", train + val)):
            path = folder / "ImageSets" / "Main" / f"{name}.txt"
            if name in lists:
                print(f"{path}: left as it is")
                continue
            if name != "trainval" and lists.keys() & {"train", "val"}:
                print(f"{path}: not written beside a list that may have the same images")
                continue
            ids = sorted(ref.image_id for ref in refs if ref.voc_dir == folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{image_id}\n" for image_id in ids), encoding="utf-8")
            print(f"{path}: {len(ids)} images")


def build_parser() -> Parser:
    """The flags."""
    flags = Parser(__doc__)
    flags.add_argument("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit")
    flags.add_argument("--train-set", metavar="SETS", help="such as 2007:trainval,2012:trainval")
    flags.add_argument("--val-set", metavar="SETS", help="such as 2007:val")
    flags.add_argument("--classes", type=Path, metavar="FILE", help="class names, one a line")
    flags.add_argument("--seed", type=seed, default=0, help="of what is held out for validation")
    flags.add_argument("--out", type=Path, default=Path(), help="folder of the lists")
    flags.add_argument(
        "--write-splits",
        action="store_true",
        help="also write ImageSets/Main lists where they are missing",
    )
    return flags


if __name__ == "__main__":
    run(main, build_parser())
