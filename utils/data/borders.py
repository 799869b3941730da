"""How much of an annotated box lies inside its image."""

from collections.abc import Sequence

import numpy as np

MAX_CORNER = 2**24  # pixels on both sides of 0; up to here, float32 represents whole pixels exactly


def reachable_iou(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Computes the IoU of each box with its own part inside the image.

    Detections never extend beyond the image, so no detection can have a higher IoU with the box.
    Pixels of both edges are counted, as in VOC's evaluation.

    Args:
        boxes: (N, 4) xyxy pixels as annotated.
        size: Height and width of the image.

    Returns:
        (N,) float64, 0..1: 1 for boxes inside the image, 0 for boxes outside.
    """
    height, width = size
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    inside = np.clip(boxes, 0, (width, height, width, height))
    sides, inside_sides = boxes[:, 2:] - boxes[:, :2] + 1, inside[:, 2:] - inside[:, :2] + 1
    is_outside = ((boxes[:, 2:] < 0) | (boxes[:, :2] > (width, height))).any(axis=1)
    return np.where(is_outside, 0, (inside_sides / sides).prod(axis=1))


def clip_box(box: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    """Clips a box xyxy to an image. For one box, this is much faster than NumPy."""
    xmin, ymin, xmax, ymax = box
    return (
        min(max(xmin, 0.0), float(width)),
        min(max(ymin, 0.0), float(height)),
        min(max(xmax, 0.0), float(width)),
        min(max(ymax, 0.0), float(height)),
    )
