"""The statistics of a checked dataset, as text."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from utils.data.anchors import anchor_fit, box_sizes
from utils.data.samples import Samples
from utils.text import first_few, format_table

SHOWN_CLASSES = 40  # that a table has at most if it is to be read in a terminal
SHOWN_NAME = 40  # characters of a class name in such a table


class StatisticsTables(NamedTuple):
    """The statistics of a dataset.

    Attributes:
        full: The table with a row for every class.
        short: The same, but of many classes, only those with the most and the fewest objects.
    """

    full: str
    short: str


def format_statistics(
    samples: Mapping[str, Samples],
    classes: Sequence[str],
    anchors: np.ndarray,
    input_size: tuple[int, int],
) -> StatisticsTables:
    """Formats the statistics of a dataset.

    Args:
        samples: The usable samples by split.
        classes: Names of the classes, by label.
        anchors: (..., 2) width and height in input pixels.
        input_size: Height and width of the network's input.
    """
    images = [read.sizes[:, ::-1] for read in samples.values()]
    counts = [_count_objects(read, len(classes)) for read in samples.values()]
    boxes = [box_sizes(read, input_size) for read in samples.values()]
    fits = [anchor_fit(sizes, anchors) for sizes in boxes]
    empty = [np.count_nonzero(read.counts == 0) for read in samples.values()]
    before = [
        ["", *samples],
        ["images", *(str(len(read)) for read in samples.values())],
        ["  without objects", *map(str, empty)],
        *_size_rows(images),
        ["objects (difficult)", *(_count_text(count.sum(axis=1)) for count in counts)],
    ]
    after = [
        ["boxes at input {}x{}".format(*input_size)] + [""] * len(samples),
        *_size_rows(boxes),
        ["  best possible recall", *(f"{recall:.4f}" for recall, _ in fits)],
        ["  mean IoU with the best anchor", *(f"{iou:.4f}" for _, iou in fits)],
    ]
    full = [
        [f"  {name}", *(_count_text(count[:, label]) for count in counts)]
        for label, name in enumerate(classes)
    ]
    short = _shortened(full, counts) if len(classes) > SHOWN_CLASSES else full
    return StatisticsTables(*(format_table(before + rows + after) for rows in (full, short)))


def _shortened(rows: list[list[str]], counts: list[np.ndarray]) -> list[list[str]]:
    """Keeps the rows of the classes with the most and the fewest objects in the first split."""
    order = np.argsort(-counts[0][0], kind="stable")
    most, others, fewest = np.split(order, [SHOWN_CLASSES // 2, len(rows) - SHOWN_CLASSES // 2])
    middle = [
        f"  and {len(others)} more",
        *(_count_text(count[:, others].sum(axis=1)) for count in counts),
    ]
    most, fewest = (
        [[_cut(rows[label][0]), *rows[label][1:]] for label in part] for part in (most, fewest)
    )
    return [*most, middle, *fewest]


def _cut(name: str) -> str:
    return name if len(name) <= SHOWN_NAME else name[: SHOWN_NAME - 1] + "…"


def absent_classes(samples: Mapping[str, Samples], classes: Sequence[str]) -> str:
    """Warns of classes that cannot be learned or validated: one line per split, or none."""
    effects = {
        "train": "so they cannot be learned",
        "val": "so they do not count in the mAP that selects the best weights",
    }
    lines = []
    for split, effect in effects.items():
        # Difficult objects count: in training, and in COCO's mAP, which selects the best weights.
        counts = _count_objects(samples.get(split, Samples.of([])), len(classes))[0]
        found = set(np.flatnonzero(counts).tolist())
        absent = [name for label, name in enumerate(classes) if label not in found]
        if absent and found:  # without any object, the caller reports an error
            lines.append(
                f"warning: {len(absent)} of {len(classes)} classes have no object in {split}, "
                f"{effect}: {first_few(absent)}\n"
            )
    return "".join(lines)


def _size_rows(splits: list[np.ndarray]) -> list[list[str]]:
    """Rows with the smallest, median and largest width and height in each split."""
    measures = {"smallest": np.min, "median": np.median, "largest": np.max}
    return [
        [f"  {name} width x height"]
        + ["{:.0f}x{:.0f}".format(*of(sizes, axis=0)) if len(sizes) else "-" for sizes in splits]
        for name, of in measures.items()
    ]


def _count_objects(samples: Samples, classes: int) -> np.ndarray:
    """Counts all objects and the difficult ones per class: (2, classes)."""
    chosen = (samples.labels, samples.labels[samples.difficult])
    return np.stack([np.bincount(labels, minlength=classes) for labels in chosen])


def _count_text(count: np.ndarray) -> str:
    return f"{count[0]} ({count[1]})" if count[1] else str(count[0])
