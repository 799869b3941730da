"""A look at the whole dataset before training: what is in it, and what is wrong with which file."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations

import numpy as np
from tqdm import tqdm

from utils.data.anchors import anchor_fit, box_sizes
from utils.data.annotation import LONE_ANNOTATION, LONE_IMAGE, Fault, Sample, read_samples
from utils.data.dataset import MOST_BOXES
from utils.data.images import DECODERS, read_image
from utils.data.imagesets import ImageRef, annotation_files, image_files
from utils.errors import UserError

SHOWN = 3  # faults of each kind that the table names; the report has all


@dataclass(frozen=True, eq=False)
class Report:
    """What a check found.

    Attributes:
        samples: The usable samples of each split.
        faults: Everything wrong, file by file.
        table: The figures and the first faults of each kind, to be printed.
    """

    samples: dict[str, list[Sample]]
    faults: list[Fault]
    table: str


def check_dataset(
    splits: Mapping[str, Sequence[ImageRef]],
    classes: list[str],
    anchors: np.ndarray,
    input_size: tuple[int, int],
    strict: bool = False,
) -> Report:
    """Read every annotation and decode every image once.

    Args:
        splits: Images by the name of their split.
        classes: Names of the classes, by label.
        anchors: (..., 2) input pixels.
        input_size: (H, W) of the network's input.
        strict: Whether any fault is an error.

    Raises:
        UserError: A split without a usable image, unless it is `test`; or, when strict, any fault.
    """
    samples, faults = {}, []
    digests: dict[str, dict[bytes, Sample]] = {}
    for split, refs in splits.items():
        read, found = read_samples(refs, classes)
        samples[split], digests[split], damaged = decode_all(read, split)
        faults += found + damaged
    faults += _crowded(samples.get("train", []))
    faults += _lone_files({ref.voc_dir for refs in splits.values() for ref in refs})
    faults += _shared_images(samples, digests)
    faults = list(dict.fromkeys(faults))
    table = _table(samples, classes, anchors, input_size) + fault_lines(faults)
    if strict and faults:
        raise UserError(
            f"{len(faults)} faults in the dataset, repair them, or leave out --strict to have them "
            f"listed and passed over; the first: {_line(faults[0])}"
        )
    for split, usable in samples.items():
        if not usable and split != "test":  # which is only to share nothing with the others
            why = f"; the first fault: {_line(faults[0])}" if faults else ""
            raise UserError(f"no usable image among the {len(splits[split])} of {split}{why}")
    return Report(samples, faults, table)


def decode_all(
    samples: list[Sample], split: str
) -> tuple[list[Sample], dict[bytes, Sample], list[Fault]]:
    """The samples whose image decodes, by a digest of its pixels at an eighth too, and the rest."""

    def digest(sample: Sample) -> bytes | Fault:
        try:
            small = read_image(sample.image, (1, 1), (sample.height, sample.width))
        except (UserError, OSError) as error:
            return Fault("unreadable image", sample.image, str(error))
        return blake2b(small, digest_size=16).digest() + bytes(str(small.shape), "ascii")

    usable, digests, faults = [], {}, []
    with ThreadPoolExecutor(DECODERS) as pool:
        results = tqdm(
            pool.map(digest, samples),
            desc=f"checking {split}",
            total=len(samples),
            delay=2,
            leave=False,
            disable=None,  # where no one watches
        )
        for sample, result in zip(samples, results, strict=True):
            if isinstance(result, Fault):
                faults.append(result)
            else:
                usable.append(sample)
                digests.setdefault(result, sample)
    return usable, digests, faults


def _crowded(samples: list[Sample]) -> list[Fault]:
    """Images with more objects than are trained on."""
    return [
        Fault("too many objects", s.image, f"{len(s.boxes)}, the largest {MOST_BOXES} count")
        for s in samples
        if len(s.boxes) > MOST_BOXES
    ]


def _lone_files(folders: set) -> list[Fault]:
    faults = []
    for folder in sorted(folders):
        images, annotations = image_files(folder), annotation_files(folder)
        lone_images = images.keys() - annotations.keys()
        lone_annotations = annotations.keys() - images.keys()
        faults += [Fault(LONE_IMAGE, images[image_id]) for image_id in sorted(lone_images)]
        faults += [
            Fault(LONE_ANNOTATION, annotations[image_id]) for image_id in sorted(lone_annotations)
        ]
    return faults


def _shared_images(
    samples: dict[str, list[Sample]], digests: dict[str, dict[bytes, Sample]]
) -> list[Fault]:
    """Images that stand in two splits, by id or, under another name, by their pixels."""
    faults = []
    for one, other in combinations(samples, 2):
        here, there = ({sample.image for sample in samples[split]} for split in (one, other))
        for path in here & there:
            faults.append(Fault("same id in two splits", path, f"in {one} and in {other}"))
        for digest in digests[one].keys() & digests[other].keys():
            first, second = digests[one][digest].image, digests[other][digest].image
            # Different pixels may look the same at an eighth of the size.
            if first != second and np.array_equal(read_image(first), read_image(second)):
                detail = f"in {one}, and in {other} as {second}"
                faults.append(Fault("same pixels in two splits", first, detail))
    return sorted(faults)


def _table(
    samples: dict[str, list[Sample]],
    classes: list[str],
    anchors: np.ndarray,
    input_size: tuple[int, int],
) -> str:
    images = [np.array([(s.width, s.height) for s in read]) for read in samples.values()]
    counts = [_count(read, len(classes)) for read in samples.values()]
    boxes = [box_sizes(read, input_size) for read in samples.values()]
    fits = [anchor_fit(sizes, anchors) for sizes in boxes]
    empty = [sum(not len(sample.boxes) for sample in read) for read in samples.values()]
    rows = [
        ["", *samples],
        ["images", *(str(len(read)) for read in samples.values())],
        ["  without objects", *map(str, empty)],
        *_size_rows(images),
        ["objects (difficult)", *(_told(count.sum(axis=1)) for count in counts)],
        *([f"  {name}", *(_told(c[:, i]) for c in counts)] for i, name in enumerate(classes)),
        ["boxes at input {}x{}".format(*input_size)] + [""] * len(samples),
        *_size_rows(boxes),
        ["  best possible recall", *(f"{recall:.4f}" for recall, _ in fits)],
        ["  mean IoU with the best anchor", *(f"{iou:.4f}" for _, iou in fits)],
    ]
    return format_table(rows)


def _size_rows(splits: list[np.ndarray]) -> list[list[str]]:
    """Rows of the smallest, median and largest width and height of each split."""
    measures = {"smallest": np.min, "median": np.median, "largest": np.max}
    return [
        [f"  {name} width x height"]
        + ["{:.0f}x{:.0f}".format(*of(sizes, axis=0)) if len(sizes) else "-" for sizes in splits]
        for name, of in measures.items()
    ]


def _count(samples: list[Sample], classes: int) -> np.ndarray:
    """Objects a class, all and difficult: (2, classes)."""
    labels = np.concatenate([np.zeros(0, np.int32), *(sample.labels for sample in samples)])
    difficult = np.concatenate([np.zeros(0, bool), *(sample.difficult for sample in samples)])
    return np.stack(
        [np.bincount(labels[chosen], minlength=classes) for chosen in (difficult >= 0, difficult)]
    )


def _told(count: np.ndarray) -> str:
    return f"{count[0]} ({count[1]})" if count[1] else str(count[0])


def format_table(rows: list[list[str]]) -> str:
    """Columns set flush: the first to the left, the others to the right."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = (
        row[0]
        + " " * (widths[0] - _width(row[0]))
        + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )
    return "".join(line.rstrip() + "\n" for line in lines)


def _width(text: str) -> int:
    """Columns in a terminal, where a Chinese letter takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def fault_lines(faults: list[Fault]) -> str:
    """The faults by kind, the first of each with their files."""
    kinds = defaultdict(list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    lines = [f"faults: {len(faults) or 'none'}"]
    for kind, found in kinds.items():
        lines.append(f"  {kind}: {len(found)}")
        lines += [f"    {_line(fault)}" for fault in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"    and {len(found) - SHOWN} more")
    return "\n".join(lines) + "\n"


def _line(fault: Fault) -> str:
    if str(fault.path) in fault.detail:
        return fault.detail
    return f"{fault.path}: {fault.detail or fault.kind}"
