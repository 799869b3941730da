"""The thresholds that decide which predictions become detections."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """The settings of non-maximum suppression.

    Attributes:
        confidence: Minimum score of a detection, 0..1.
        iou: Maximum IoU of two detections of one class, 0..1. If two overlap more, the one with the
            lower score is dropped.
        max_boxes: Maximum number of detections per image.
    """

    confidence: float = 0.5
    iou: float = 0.3
    max_boxes: int = 100


DEFAULT_THRESHOLDS = Thresholds()
