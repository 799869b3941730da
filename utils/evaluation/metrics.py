"""How good detections are: the VOC and the COCO figures, and those a class needs to be understood.

Two conventions exist and both are computed. The VOC development kit's (`VOCevaldet.m`) counts
pixels inclusively, so a box from 10 to 12 is 3 wide, and leaves out objects marked `difficult`:
finding one is neither a hit nor a miss. COCO's has continuous boxes and knows no such mark: there
a difficult object is an object like any other.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from utils.data.annotation import Sample
from utils.evaluation.coco import coco_scores
from utils.inference.detections import Detections

FALSE, HIT, IGNORED = range(3)  # what became of a detection
SURE = 0.5  # the score from which a detection would be shown, where a figure needs one


def evaluate(
    samples: Sequence[Sample],
    detections: Sequence[Detections],
    classes: Sequence[str],
    iou: float = 0.5,
    score_threshold: float = SURE,
) -> dict[str, Any]:
    """Scores detections against the ground truth.

    Args:
        samples: the images with their ground truth.
        detections: what was found, image by image in the same order.
        classes: names, by label.
        iou: from this overlap on a detection finds an object (VOC figures only; COCO's has its
            own ten), 0..1.
        score_threshold: precision, recall and F1 count the detections of at least this score.

    Returns:
        A document that is ready for JSON, all figures fractions 0..1 and None where undefined:
        `voc` and `coco` with the means over the classes that have ground truth, `per_class` by
        name, `images` and `seconds`.
    """
    start = time.perf_counter()
    curves = class_curves(match(samples, detections, iou), len(classes))
    coco, coco_ap = coco_scores(samples, detections, len(classes))
    per_class = {}
    for name, curve, ap in zip(classes, curves, coco_ap, strict=True):
        precision, recall, f1 = curve.at(score_threshold)
        per_class[name] = {
            "ap": curve.average_precision,
            "ap_11pt": curve.average_precision_11pt,
            "coco_ap": ap,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "lamr": curve.log_average_miss_rate,
            "ground_truths": curve.ground_truths,
            "detections": curve.detections,
        }
    return {
        "voc": {
            "iou": iou,
            "map": _mean(scores["ap"] for scores in per_class.values()),
            "map_11pt": _mean(scores["ap_11pt"] for scores in per_class.values()),
        },
        "coco": coco,
        "per_class": per_class,
        "images": len(samples),
        "seconds": {"metric": time.perf_counter() - start},
    }


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Overlap of each box with each other one as VOC counts it, both edges' pixels included.

    Args:
        boxes: `(N, 4)` corners `xmin, ymin, xmax, ymax` in pixels.
        others: `(M, 4)` likewise.

    Returns:
        `(N, M)` float64 intersection over union, 0..1.
    """
    boxes, others = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    low, high = np.maximum(boxes, others), np.minimum(boxes, others)
    intersection = (high[..., 2:] - low[..., :2] + 1).clip(min=0).prod(axis=-1)
    areas = [(corners[..., 2:] - corners[..., :2] + 1).prod(axis=-1) for corners in (boxes, others)]
    return intersection / (areas[0] + areas[1] - intersection)


@dataclass(frozen=True)
class Matches:
    """What became of every detection and every object of a set.

    The detections of all images in one row, best score first, so that a cumulative sum walks
    down the precision-recall curve.

    Attributes:
        image: `(N,)` index of the image.
        index: `(N,)` index within the image's detections.
        label: `(N,)` class.
        score: `(N,)` score, 0..1.
        overlap: `(N,)` greatest IoU with an object of its class in the image, 0..1.
        outcome: `(N,)` `HIT`, `FALSE` or `IGNORED` (it found a difficult object).
        found: for each image `(objects,)` bool, whether a detection found that object.
        ground_truths: `(objects of all images, 2)` image and label of each that is not difficult.
    """

    image: np.ndarray
    index: np.ndarray
    label: np.ndarray
    score: np.ndarray
    overlap: np.ndarray
    outcome: np.ndarray
    found: list[np.ndarray]
    ground_truths: np.ndarray


def match(samples: Sequence[Sample], detections: Sequence[Detections], iou: float) -> Matches:
    """Assigns detections to objects as `VOCevaldet.m` does.

    By falling score each detection asks for the object of its class that it overlaps most. It is
    a hit where that overlap reaches `iou` and the object is still free; if another has it already
    the detection is false, even if it overlaps a second, free object enough.
    """
    first_object = np.cumsum([0, *(len(sample.labels) for sample in samples)])
    overlaps, wanted = [np.zeros(0)], [np.zeros(0, int)]
    for sample, detected, first in zip(samples, detections, first_object[:-1], strict=True):
        best, overlap = np.full(len(detected), first), np.zeros(len(detected))
        if len(detected) and len(sample.labels):
            same_class = detected.labels[:, None] == sample.labels
            ious = np.where(same_class, box_iou(detected.boxes, sample.boxes), 0)
            best, overlap = first + ious.argmax(axis=1), ious.max(axis=1)
        wanted.append(best)
        overlaps.append(overlap)

    scores = np.concatenate([np.zeros(0), *(detected.scores for detected in detections)])
    order = np.argsort(-scores, kind="stable")
    counts = [len(detected) for detected in detections]
    image = np.repeat(np.arange(len(counts)), counts)
    index = np.arange(len(image)) - np.repeat(np.cumsum([0, *counts])[:-1], counts)
    label = np.concatenate([np.zeros(0, int), *(detected.labels for detected in detections)])
    wanted, overlap = np.concatenate(wanted)[order], np.concatenate(overlaps)[order]

    gt_image = np.repeat(np.arange(len(samples)), np.diff(first_object))
    gt_label = np.concatenate([np.zeros(0, int), *(sample.labels for sample in samples)])
    difficult = np.concatenate([np.zeros(0, bool), *(sample.difficult for sample in samples)])
    outcome = np.full(len(order), FALSE)
    reaches = np.flatnonzero(overlap >= iou)
    outcome[reaches[difficult[wanted[reaches]]]] = IGNORED
    claims = reaches[outcome[reaches] != IGNORED]
    # The first of each object's claims is the one of the best score.
    hits = claims[np.unique(wanted[claims], return_index=True)[1]]
    outcome[hits] = HIT
    found = np.zeros(len(gt_label), bool)
    found[wanted[reaches]] = True
    return Matches(
        image=image[order],
        index=index[order],
        label=label[order],
        score=scores[order],
        overlap=overlap,
        outcome=outcome,
        found=np.split(found, first_object[1:-1]),
        ground_truths=np.stack([gt_image, gt_label], axis=1)[~difficult],
    )


@dataclass(frozen=True)
class Curve:
    """The precision-recall curve of one class, and the figures that are read from it.

    Attributes:
        scores: `(N,)` scores of the detections that count, falling.
        hits: `(N,)` bool, which of them found an object.
        ground_truths: how many objects there are to find.
        images: how many images show at least one of them.
        detections: how many detections there are, with those of difficult objects.
    """

    scores: np.ndarray
    hits: np.ndarray
    ground_truths: int
    images: int
    detections: int

    @cached_property
    def recall(self) -> np.ndarray:
        """`(N,)` share of the objects found down to each score, rising."""
        return np.cumsum(self.hits) / max(self.ground_truths, 1)

    @cached_property
    def precision(self) -> np.ndarray:
        """`(N,)` share of the detections down to each score that are hits."""
        return np.cumsum(self.hits) / np.arange(1, len(self.hits) + 1)

    @cached_property
    def f1(self) -> np.ndarray:
        """`(N,)` harmonic mean of precision and recall down to each score."""
        kept = np.arange(1, len(self.hits) + 1)
        return 2 * np.cumsum(self.hits) / (kept + self.ground_truths)

    @cached_property
    def envelope(self) -> np.ndarray:
        """`(N,)` the best precision that is had at each recall or a greater one, falling."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    @property
    def average_precision(self) -> float | None:
        """Area under the envelope, as VOC counts since 2010; None without ground truth."""
        if not self.ground_truths:
            return None
        return float(np.diff(self.recall, prepend=0) @ self.envelope)

    @property
    def average_precision_11pt(self) -> float | None:
        """Mean of the envelope at recall 0, 0.1 ... 1, as VOC2007 counts."""
        if not self.ground_truths:
            return None
        at = np.searchsorted(self.recall, np.arange(11) / 10)
        return float(np.append(self.envelope, 0)[at].mean())

    @property
    def log_average_miss_rate(self) -> float | None:
        """Geometric mean of the miss rate at nine rates of false positives an image.

        They lie at even distances in the logarithm from 0.01 to 1 (Dollar et al., Pedestrian
        Detection, PAMI 2012). At each the curve's last point that does not exceed it counts, or a
        miss rate of 1 before its first. "An image" is one that shows the class, as in the mAP
        tool that the predecessors use (Cartucho/mAP); a class that is never detected has 1 here
        where that tool says 0.
        """
        if not self.ground_truths:
            return None
        false_per_image = np.cumsum(~self.hits) / self.images
        last = np.searchsorted(false_per_image, np.logspace(-2, 0, 9), side="right")
        miss_rate = np.append(1, 1 - self.recall)[last]
        return float(np.exp(np.log(np.maximum(miss_rate, 1e-10)).mean()))

    def at(self, score: float) -> tuple[float | None, float | None, float | None]:
        """Precision, recall and F1 of the detections of at least this score."""
        kept = int(np.count_nonzero(self.scores >= score))
        hits = int(np.count_nonzero(self.hits[:kept]))
        precision = hits / kept if kept else None
        if not self.ground_truths:
            return precision, None, None
        return precision, hits / self.ground_truths, 2 * hits / (kept + self.ground_truths)


def class_curves(matches: Matches, num_classes: int) -> list[Curve]:
    """One curve a class, by label."""
    curves = []
    for label in range(num_classes):
        of_class = matches.label == label
        counts = of_class & (matches.outcome != IGNORED)
        images = matches.ground_truths[matches.ground_truths[:, 1] == label, 0]
        curves.append(
            Curve(
                scores=matches.score[counts],
                hits=matches.outcome[counts] == HIT,
                ground_truths=len(images),
                images=len(np.unique(images)),
                detections=int(np.count_nonzero(of_class)),
            )
        )
    return curves


def confusion_matrix(
    samples: Sequence[Sample],
    detections: Sequence[Detections],
    num_classes: int,
    iou: float = 0.5,
    score_threshold: float = SURE,
) -> np.ndarray:
    """Which class was taken for which.

    Whatever their classes, an object and a detection of at least `score_threshold` make a pair
    where they overlap by at least `iou`; the greatest overlaps are paired first, each object and
    each detection once. Difficult objects and the detections paired with them are not counted.

    Returns:
        `(num_classes + 1, num_classes + 1)` counts: true class by detected class. The last row
        counts detections of nothing, the last column objects that were not detected.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), int)
    for sample, detected in zip(samples, detections, strict=True):
        sure = detected.scores >= score_threshold
        labels = detected.labels[sure]
        ious = box_iou(sample.boxes, detected.boxes[sure])
        missed, wrong = np.ones(len(sample.labels), bool), np.ones(len(labels), bool)
        true, guessed = np.nonzero(ious >= iou)
        for pair in np.argsort(-ious[true, guessed], kind="stable"):
            row, column = true[pair], guessed[pair]
            if missed[row] and wrong[column]:
                missed[row] = wrong[column] = False
                matrix[sample.labels[row], labels[column]] += not sample.difficult[row]
        missed &= ~sample.difficult
        np.add.at(matrix, (sample.labels[missed], num_classes), 1)
        np.add.at(matrix, (num_classes, labels[wrong]), 1)
    return matrix


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
