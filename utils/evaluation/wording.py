"""The names of metrics and the format of their values in reports."""

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


def count_or_percent(value: float | int | None) -> str:
    """Formats an integer as it is and a fraction as a percentage."""
    return str(value) if isinstance(value, int) else percent(value)
