"""Matches detections to objects by the rules of the VOC development kit.

The kit counts pixels inclusively, so a box from 10 to 12 is 3 pixels wide. It ignores objects that
are marked `difficult`: a detection that matches one is neither a true nor a false positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.data.samples import Sample
from utils.inference.detections import Detections

FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = range(3)  # outcomes of a detection


@dataclass(frozen=True, eq=False)
class Matches:
    """The outcome of every detection and every object of a set.

    The N detections of all images are sorted by descending score, so that cumulative sums give the
    precision-recall curve.

    Attributes:
        image: (N,) index of the image.
        index: (N,) index of the detection within its image.
        label: (N,) class.
        score: (N,) score, 0..1.
        overlap: (N,) maximum IoU with an object of the same class in the image, 0..1.
        outcome: (N,) `FALSE_POSITIVE`, `TRUE_POSITIVE` or `IGNORED` (it matches a difficult
            object).
        found: For each image, (objects,) bool: whether a detection matches the object.
        ground_truths: (M, 2) image and label of each object of the set that is not difficult.
    """

    image: np.ndarray
    index: np.ndarray
    label: np.ndarray
    score: np.ndarray
    overlap: np.ndarray
    outcome: np.ndarray
    found: list[np.ndarray]
    ground_truths: np.ndarray


def match_detections(
    samples: Sequence[Sample], detections: Sequence[Detections], iou: float
) -> Matches:
    """Matches detections to objects as `VOCevaldet.m` does.

    In order of descending score, each detection is compared with the object of its class that it
    overlaps most. It is a true positive if the IoU is at least `iou` and no earlier detection has
    matched the object. Otherwise it is a false positive, even if it overlaps a second, unmatched
    object enough.

    Args:
        samples: Images with their ground truth.
        detections: Detections per image, in the same order.
        iou: Minimum IoU of a match, 0..1.
    """
    # 1. Each detection's best object of its class, as an index among the objects of all images.
    first_object = np.cumsum([0, *(len(sample.labels) for sample in samples)])
    best_objects, overlaps = [np.zeros(0, int)], [np.zeros(0)]
    for sample, detected, first in zip(samples, detections, first_object[:-1], strict=True):
        best, overlap = np.full(len(detected), first), np.zeros(len(detected))
        if len(detected) and len(sample.labels):
            same_class = detected.labels[:, None] == sample.labels
            ious = np.where(same_class, box_iou(detected.boxes, sample.boxes), 0)
            best, overlap = first + ious.argmax(axis=1), ious.max(axis=1)
        best_objects.append(best)
        overlaps.append(overlap)

    # 2. The detections of all images by descending score.
    scores = np.concatenate([np.zeros(0), *(detected.scores for detected in detections)])
    order = np.argsort(-scores, kind="stable")
    counts = [len(detected) for detected in detections]
    image = np.repeat(np.arange(len(counts)), counts)
    index = np.arange(len(image)) - np.repeat(np.cumsum([0, *counts])[:-1], counts)
    label = np.concatenate([np.zeros(0, int), *(detected.labels for detected in detections)])
    best_object, overlap = np.concatenate(best_objects)[order], np.concatenate(overlaps)[order]

    # 3. The outcomes. If several detections match an object, the first has the highest score.
    difficult = np.concatenate([np.zeros(0, bool), *(sample.difficult for sample in samples)])
    outcome = np.full(len(order), FALSE_POSITIVE)
    matching = np.flatnonzero(overlap >= iou)
    outcome[matching[difficult[best_object[matching]]]] = IGNORED
    candidates = matching[outcome[matching] != IGNORED]
    first_matches = candidates[np.unique(best_object[candidates], return_index=True)[1]]
    outcome[first_matches] = TRUE_POSITIVE

    # 4. The objects.
    object_image = np.repeat(np.arange(len(samples)), np.diff(first_object))
    object_label = np.concatenate([np.zeros(0, int), *(sample.labels for sample in samples)])
    found = np.zeros(len(object_label), bool)
    found[best_object[matching]] = True
    return Matches(
        image=image[order],
        index=index[order],
        label=label[order],
        score=scores[order],
        overlap=overlap,
        outcome=outcome,
        found=np.split(found, first_object[1:-1]),
        ground_truths=np.stack([object_image, object_label], axis=1)[~difficult],
    )


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Computes the IoU of all pairs of boxes, with VOC's inclusive pixels.

    Args:
        boxes: (N, 4) xyxy pixels.
        others: (M, 4) xyxy pixels.

    Returns:
        (N, M) float64, 0..1.
    """
    boxes, others = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    low, high = np.maximum(boxes, others), np.minimum(boxes, others)
    intersection = (high[..., 2:] - low[..., :2] + 1).clip(min=0).prod(axis=-1)
    areas = [(corners[..., 2:] - corners[..., :2] + 1).prod(axis=-1) for corners in (boxes, others)]
    return intersection / (areas[0] + areas[1] - intersection)
