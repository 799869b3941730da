"""Non-maximum suppression in NumPy, for runtimes that leave it to the caller."""

from collections.abc import Sequence

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
    kept = np.zeros(0, np.int64)
    for start in range(0, len(boxes), CHUNK):
        chunk = np.arange(start, min(start + CHUNK, len(boxes)))
        chunk = chunk[~_overlaps(boxes, classes, chunk, kept, iou).any(axis=1)]
        among = np.triu(_overlaps(boxes, classes, chunk, chunk, iou), 1)  # row suppresses column
        is_kept = np.ones(len(chunk), bool)
        for row in np.flatnonzero(among.any(axis=1)):
            if is_kept[row]:
                is_kept &= ~among[row]
        kept = np.concatenate([kept, chunk[is_kept]])
        if len(kept) >= most:
            return kept[:most]
    return kept


def _overlaps(
    boxes: np.ndarray, classes: np.ndarray, one: np.ndarray, other: np.ndarray, iou: float
) -> np.ndarray:
    """Whether each box of `one` and each box of `other` are of one class and overlap too much."""
    a, b = boxes[one, None], boxes[None, other]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    area_a, area_b = (np.prod(side[..., 2:] - side[..., :2], axis=-1) for side in (a, b))
    return (shared > iou * (area_a + area_b - shared)) & (
        classes[one, None] == classes[None, other]
    )
