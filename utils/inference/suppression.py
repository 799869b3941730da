"""Non-maximum suppression in NumPy, for runtimes that leave it to the caller."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.inference.detections import Detections
from utils.inference.thresholds import Thresholds

CHUNK = 128  # candidates that are compared with each other at once


def suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    thresholds: Thresholds,
    labels: Sequence[int] | None = None,
) -> Detections:
    """Drops boxes that overlap better ones of the same class, as `nets.nms.suppress` does.

    Args:
        boxes: (P, 4) xyxy pixels.
        scores: (P, C) in 0..1.
        thresholds: Thresholds of non-maximum suppression.
        labels: The classes to find; None for all.

    Returns:
        The detections of one image, best first, in the same pixels.
    """
    candidates, classes = np.nonzero(scores > thresholds.confidence)
    if labels is not None:
        wanted = np.isin(classes, labels)
        candidates, classes = candidates[wanted], classes[wanted]
    values = scores[candidates, classes]
    # Ties are in the order of the predictions, and then of the classes.
    order = np.argsort(-values, kind="stable")
    candidates, classes, values = candidates[order], classes[order], values[order]
    kept = _greedy(boxes[candidates], classes, thresholds.iou, thresholds.max_boxes)
    return Detections(
        boxes[candidates[kept]].astype(np.float32),
        values[kept].astype(np.float32),
        classes[kept].astype(np.int32),
        at_limit=len(kept) == thresholds.max_boxes,
    )


def _greedy(boxes: np.ndarray, classes: np.ndarray, iou: float, most: int) -> np.ndarray:
    """Returns the indices of the boxes that are kept, of those in descending order of score."""
    columns = _Columns(*np.ascontiguousarray(boxes.T), classes)
    kept = np.zeros(0, np.int64)
    for start in range(0, len(boxes), CHUNK):
        chunk = np.arange(start, min(start + CHUNK, len(boxes)))
        if len(kept):
            chunk = chunk[~columns.overlap(chunk, kept, iou).any(axis=1)]
        among = np.triu(columns.overlap(chunk, chunk, iou), 1)  # row suppresses column
        is_kept = np.ones(len(chunk), bool)
        for row in np.flatnonzero(among.any(axis=1)):
            if is_kept[row]:
                is_kept &= ~among[row]
        kept = np.concatenate([kept, chunk[is_kept]])
        if len(kept) >= most:
            return kept[:most]
    return kept


@dataclass(frozen=True)
class _Columns:
    """Boxes with their classes, each corner in an array of its own, which is faster."""

    xmin: np.ndarray
    ymin: np.ndarray
    xmax: np.ndarray
    ymax: np.ndarray
    label: np.ndarray

    def overlap(self, one: np.ndarray, other: np.ndarray, iou: float) -> np.ndarray:
        """Whether each box of `one` and each box of `other` are of one class and overlap too much.

        Args:
            one: (N,) indices.
            other: (M,) indices.
            iou: Maximum IoU, which is rounded as TensorFlow does: in float32, after the division.
        """
        xmin, ymin, xmax, ymax, label = (
            (part[one, None], part[other])
            for part in (self.xmin, self.ymin, self.xmax, self.ymax, self.label)
        )
        width = np.minimum(*xmax)
        width -= np.maximum(*xmin)
        height = np.minimum(*ymax)
        height -= np.maximum(*ymin)
        shared = np.maximum(width, 0, out=width)
        shared *= np.maximum(height, 0, out=height)
        areas = [(xmax[i] - xmin[i]) * (ymax[i] - ymin[i]) for i in range(2)]
        union = areas[0] + areas[1]
        union -= shared
        np.maximum(union, np.finfo(np.float32).tiny, out=union)  # of empty boxes
        return (np.divide(shared, union, out=union) > iou) & np.equal(*label)
