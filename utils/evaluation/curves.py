"""The precision-recall curve of each class, and the metrics that are computed from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from utils.evaluation.matching import IGNORED, TRUE_POSITIVE, Matches

# The 11 recalls of VOC2007, in the floating point of `np.arange(0., 1.1, 0.1)` in py-faster-rcnn,
# which most tools follow. Three are above the tenth: 0.30000000000000004, 0.6000000000000001 and
# 0.7000000000000001, so a recall of exactly 3/10 does not reach the first of them. For the devkit's
# `0:0.1:1`, MATLAB computes the upper half from the end, so there only 0.3 is above the tenth.
RECALLS_11PT = np.arange(11) * 0.1


@dataclass(frozen=True, eq=False)
class Curve:
    """The precision-recall curve of one class.

    Its N points are the detections that are not ignored, by descending score. Point i describes
    the detections 0..i.

    Attributes:
        scores: (N,) scores, descending.
        hits: (N,) bool, whether the detection is a true positive.
        ground_truths: Number of objects, without difficult ones.
        images: Number of images that contain at least one of these objects.
        detections: Number of detections, including ignored ones.
    """

    scores: np.ndarray
    hits: np.ndarray
    ground_truths: int
    images: int
    detections: int

    @cached_property
    def recall(self) -> np.ndarray:
        """(N,) fraction of the objects that are found, ascending."""
        return np.cumsum(self.hits) / max(self.ground_truths, 1)

    @cached_property
    def precision(self) -> np.ndarray:
        """(N,) fraction of the detections that are true positives."""
        return np.cumsum(self.hits) / np.arange(1, len(self.hits) + 1)

    @cached_property
    def f1(self) -> np.ndarray:
        """(N,) harmonic mean of precision and recall."""
        kept = np.arange(1, len(self.hits) + 1)
        return 2 * np.cumsum(self.hits) / (kept + self.ground_truths)

    @cached_property
    def envelope(self) -> np.ndarray:
        """(N,) highest precision at the recall of each point or above, descending."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    @property
    def average_precision(self) -> float | None:
        """Area under the envelope, as in VOC since 2010; None without ground truth."""
        if not self.ground_truths:
            return None
        return float(np.diff(self.recall, prepend=0) @ self.envelope)

    @property
    def average_precision_11pt(self) -> float | None:
        """Mean of the envelope at `RECALLS_11PT`, as in VOC2007; None without ground truth."""
        if not self.ground_truths:
            return None
        at = np.searchsorted(self.recall, RECALLS_11PT)
        return float(np.append(self.envelope, 0)[at].mean())

    @property
    def log_average_miss_rate(self) -> float | None:
        """Geometric mean of the miss rate at nine rates of false positives per image.

        These rates are logarithmically spaced from 0.01 to 1 (Dollar et al., Pedestrian Detection,
        PAMI 2012). The miss rate at each is that of the last point that does not exceed
        it, or 1 if there is no such point. As in Cartucho/mAP, the tool
        that the predecessors use, only images that contain the class are counted. For a class
        without detections that tool returns 0, but this property is 1. None without ground truth.
        """
        if not self.ground_truths:
            return None
        false_per_image = np.cumsum(~self.hits) / self.images
        last = np.searchsorted(false_per_image, np.logspace(-2, 0, 9), side="right")
        miss_rate = np.append(1, 1 - self.recall)[last]
        return float(np.exp(np.log(np.maximum(miss_rate, 1e-10)).mean()))

    @property
    def best_f1(self) -> tuple[float | None, float | None]:
        """The highest F1 of any minimum score, and the highest such minimum score.

        F1 is None without ground truth. The score is None if no detection is a true positive, since
        F1 is then 0 at every score.
        """
        if not self.ground_truths:
            return None, None
        if not self.hits.any():
            return 0.0, None
        # A minimum score keeps either all detections of equal score or none of them.
        is_last_of_equals = np.append(self.scores[1:] != self.scores[:-1], True)
        best = np.where(is_last_of_equals, self.f1, 0).argmax()
        return float(self.f1[best]), float(self.scores[best])

    def at(self, score: float) -> tuple[float | None, float | None, float | None]:
        """Precision, recall and F1 of the detections with at least this score.

        Returns:
            Three fractions. Precision is None without such detections; recall and F1 are None
            without ground truth.
        """
        kept = int(np.count_nonzero(self.scores >= score))
        hits = int(np.count_nonzero(self.hits[:kept]))
        precision = hits / kept if kept else None
        if not self.ground_truths:
            return precision, None, None
        return precision, hits / self.ground_truths, 2 * hits / (kept + self.ground_truths)


def class_curves(matches: Matches, classes: Sequence[str]) -> dict[str, Curve]:
    """Computes the curve of each class.

    Args:
        matches: Outcomes of the detections.
        classes: Names of the classes, by label.

    Returns:
        Curves by name, in the order of `classes`.
    """
    curves = {}
    for label, name in enumerate(classes):
        is_class = matches.label == label
        counted = is_class & (matches.outcome != IGNORED)
        images = matches.ground_truths[matches.ground_truths[:, 1] == label, 0]
        curves[name] = Curve(
            scores=matches.score[counted],
            hits=matches.outcome[counted] == TRUE_POSITIVE,
            ground_truths=len(images),
            images=len(np.unique(images)),
            detections=int(np.count_nonzero(is_class)),
        )
    return curves
