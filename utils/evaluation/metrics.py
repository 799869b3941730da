"""All metrics of a set of detections, by the rules of VOC and by those of COCO.

By VOC's rules, boxes include the pixels of both edges, and objects marked `difficult` are ignored,
see `utils.evaluation.matching`. By COCO's rules, boxes are continuous, and difficult objects count
like all others, unless they are crowds.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from utils.data.samples import Sample
from utils.evaluation.coco import coco_scores
from utils.evaluation.curves import Curve, class_curves
from utils.evaluation.matching import Matches, match_detections
from utils.evaluation.settings import MATCH_IOU, SCORE_THRESHOLD
from utils.inference.detections import Detections


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of scoring the detections of a set.

    Attributes:
        metrics: All metrics, as the JSON document that is written. They are fractions 0..1, or None
            if undefined. The keys are `voc` and `coco`, for means over the classes that have ground
            truth, `per_class`, for the metrics by class name, `images` and `seconds`.
        matches: Outcome of every detection and every object, by VOC's rules.
        curves: Precision-recall curves by class name, by VOC's rules.
    """

    metrics: dict[str, Any]
    matches: Matches
    curves: dict[str, Curve]


def evaluate(
    samples: Sequence[Sample],
    detections: Sequence[Detections],
    classes: Sequence[str],
    iou: float = MATCH_IOU,
    predict_seconds: float | None = None,
) -> Evaluation:
    """Scores detections against the ground truth.

    Args:
        samples: Images with their ground truth.
        detections: Detections per image, in the same order.
        classes: Names of the classes, by label.
        iou: Minimum IoU at which a detection matches an object, 0..1. It applies only to VOC's
            metrics, since COCO's have their own ten thresholds.
        predict_seconds: Duration of the predictions, to be reported in `seconds`; None if unknown.
    """
    start = time.perf_counter()
    matches = match_detections(samples, detections, iou)
    curves = class_curves(matches, classes)
    coco, coco_ap = coco_scores(samples, detections, len(classes))
    per_class = {
        name: _class_metrics(curve, ap)
        for (name, curve), ap in zip(curves.items(), coco_ap, strict=True)
    }
    metrics = {
        "voc": {
            "iou": iou,
            "map": _mean_of_defined(each["ap"] for each in per_class.values()),
            "map_11pt": _mean_of_defined(each["ap_11pt"] for each in per_class.values()),
        },
        "coco": coco,
        "per_class": per_class,
        "images": len(samples),
        "seconds": {"predict": predict_seconds, "metric": time.perf_counter() - start},
    }
    return Evaluation(metrics, matches, curves)


def _class_metrics(curve: Curve, coco_ap: float | None) -> dict[str, float | int | None]:
    precision, recall, f1 = curve.at(SCORE_THRESHOLD)
    best_f1, best_f1_score = curve.best_f1
    return {
        "ap": curve.average_precision,
        "ap_11pt": curve.average_precision_11pt,
        "coco_ap": coco_ap,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "lamr": curve.log_average_miss_rate,
        "ground_truths": curve.ground_truths,
        "detections": curve.detections,
        "best_f1": best_f1,
        "best_f1_score": best_f1_score,
    }


def _mean_of_defined(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
