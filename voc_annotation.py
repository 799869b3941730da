"""Lists the images of a VOCdevkit and their boxes in `<year>_train.txt` and `<year>_val.txt`.

The other scripts do not need these files; they are for tools that read the predecessors' format.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from utils.cli import Parser, run, seed
from utils.data.annotation import read_samples
from utils.data.classes import find_classes, read_classes
from utils.data.datacheck import decode_all, require_usable
from utils.data.faults import Fault, check_faults_file, fault_lines, write_faults
from utils.data.imagesets import ImageRef, read_set, set_lists, write_set_list
from utils.data.samples import Sample, Samples
from utils.data.splits import Split, resolve_splits
from utils.data.vocfolder import VocFolders
from utils.files import written_whole


def main(args: argparse.Namespace) -> None:
    """Writes the lists and prints how many images and objects they have."""
    check_faults_file(args.faults)
    split = resolve_splits(args.data, args.train_set, args.val_set, args.seed)
    print(f"{args.data}: {split}", file=sys.stderr)
    folders = VocFolders(thorough=True)
    classes = read_classes(args.classes) if args.classes else find_classes(split.train, folders)
    splits = {"train": split.train, "val": split.val}
    usable: dict[str, Samples] = {}
    faults: list[Fault] = []
    for name, refs in splits.items():
        samples, found = read_samples(refs, classes, folders)
        decoded = decode_all(samples, name, folders)
        usable[name] = decoded.samples
        faults += found + decoded.faults
    folders.save()
    print(fault_lines(faults), end="", file=sys.stderr)
    if args.faults:
        write_faults(args.faults, faults)
    for name, refs in splits.items():
        require_usable(name, usable[name], refs, faults)
    lists = {
        args.out / f"{year}_{name}.txt": samples
        for name, of_split in usable.items()
        for year, samples in by_year(of_split).items()
    }
    if any(" " in str(sample.image.resolve()) for each in lists.values() for sample in each):
        print("warning: paths contain spaces, which some tools do not support", file=sys.stderr)
    args.out.mkdir(parents=True, exist_ok=True)
    with written_whole(*lists, together=True) as parts:
        for part, samples in zip(parts, lists.values(), strict=True):
            part.write_text("".join(map(format_line, samples)), encoding="utf-8")
    for path, samples in lists.items():
        count = sum(len(sample.boxes) for sample in samples)
        print(f"{path}: {len(samples)} images, {count} objects")
    if args.write_splits:
        write_splits(split)


def by_year(samples: Samples) -> dict[str, list[Sample]]:
    """Groups samples by the year in the name of their VOC folder."""
    years = defaultdict(list)
    for sample in samples:
        years[sample.image.parents[1].name.removeprefix("VOC")].append(sample)
    return years


def format_line(sample: Sample) -> str:
    """Formats a sample as `path xmin,ymin,xmax,ymax,label ...`, integer pixels inside the image."""
    boxes = np.clip(sample.boxes, 0, (sample.width, sample.height) * 2).round().astype(int)
    rows = np.column_stack([boxes, sample.labels]).tolist()
    words = [str(sample.image.resolve()), *(",".join(map(str, row)) for row in rows)]
    return " ".join(words) + "\n"


def write_splits(split: Split) -> None:
    """Writes the lists of ImageSets/Main that are missing; existing ones are never changed.

    `train` and `val` are only written together. If one of them exists, a new list for the other
    could contain some of its images, unless it has the images of this split: after a kill, the
    same command writes the others. `trainval` comes first, because as long as one of the two is
    missing, they are chosen from it.
    """
    refs_of = {"trainval": split.train + split.val, "val": split.val, "train": split.train}
    for folder in sorted({ref.voc_dir for ref in refs_of["trainval"]}):
        existing = set_lists(folder)
        for name, refs in refs_of.items():
            path = folder / "ImageSets" / "Main" / f"{name}.txt"
            if name in existing:
                print(f"{path}: exists, not changed")
                continue
            others = existing.keys() & {"train", "val"} if name != "trainval" else ()
            if any(
                {*read_set(folder, existing[other])} != {*_of_folder(refs_of[other], folder)}
                for other in others
            ):
                print(f"{path}: not written, an existing list may contain the same images")
                continue
            ids = sorted(ref.image_id for ref in _of_folder(refs, folder))
            write_set_list(path, ids)
            print(f"{path}: {len(ids)} images")


def _of_folder(refs: list[ImageRef], folder: Path) -> list[ImageRef]:
    return [ref for ref in refs if ref.voc_dir == folder]


def build_parser() -> Parser:
    """Builds the parser of the flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit, default VOCdevkit")
    add("--train-set", metavar="SETS", help="image sets, such as 2007:trainval,2012:trainval")
    add("--val-set", metavar="SETS", help="image sets, such as 2007:val")
    add("--classes", type=Path, metavar="FILE", help="class names, one per line")
    add("--seed", type=seed, default=0, help="seed of the held-out images, default 0")
    add("--faults", type=Path, metavar="FILE", help="write all faults in the data as CSV")
    add("--out", type=Path, default=Path(), help="folder of the lists, default the current one")
    add("--write-splits", action="store_true", help="also write missing ImageSets/Main lists")
    return parser


if __name__ == "__main__":
    run(main, build_parser())
