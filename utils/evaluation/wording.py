"""The names of metrics and the format of their values in reports."""

import math
from typing import Any

from utils.evaluation.settings import Metric

# Block and key of each headline metric in the JSON document, and its name.
HEADLINES: dict[Metric, tuple[str, str, str]] = {
    "voc": ("voc", "map", "VOC mAP"),
    "voc11": ("voc", "map_11pt", "VOC mAP, 11 points"),
    "coco": ("coco", "map", "COCO AP"),
}
CLASS_METRICS = {
    "ap": "AP",
    "ap_11pt": "AP 11pt",
    "coco_ap": "COCO AP",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "best_f1": "best F1",
    "best_f1_score": "at score",
    "lamr": "LAMR",
    "ground_truths": "objects",
    "detections": "detections",
}
COCO_METRICS = {
    "map": "COCO AP",
    "map50": "AP50",
    "map75": "AP75",
    "map_small": "AP small",
    "map_medium": "AP medium",
    "map_large": "AP large",
    "mar_1": "AR 1",
    "mar_10": "AR 10",
    "mar_100": "AR 100",
}


def headline(metrics: dict[str, Any], metric: Metric) -> tuple[str, float | None]:
    """Returns the name and value of the headline metric that `metric` selects."""
    block, key, name = HEADLINES[metric]
    if block == "voc":
        name = f"{name} at IoU {metrics['voc']['iou']:g}"
    return name, metrics[block][key]


def percent(value: float | None) -> str:
    """Formats a fraction as a percentage; a dash if it is undefined."""
    return "-" if value is None else f"{100 * value:.2f}%"


def class_value(key: str, value: float | int | None) -> str:
    """Formats a metric of one class: counts as integers, fractions as percentages.

    A score has three decimals, like `--conf`. It is rounded down, so that as a minimum score it
    keeps the detection that has it.

    Args:
        key: The metric, one of `CLASS_METRICS`.
        value: Its value; a dash is shown for None.
    """
    if key == "best_f1_score" and value is not None:
        return f"{math.floor(1000 * value) / 1000:.3f}"
    return str(value) if isinstance(value, int) else percent(value)
