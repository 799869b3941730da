"""The detections of one image, and their JSON form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, highest score first.

    Attributes:
        boxes: (N, 4) float32 corners `xmin, ymin, xmax, ymax` in pixels of the original image.
        scores: (N,) float32, objectness times class probability, 0..1.
        labels: (N,) int32 indices into the class list.
        at_limit: Whether as many detections were found as non-maximum suppression may keep, so that
            others may be missing.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    at_limit: bool = False

    def __len__(self) -> int:
        """The number of objects."""
        return len(self.scores)


def to_json(
    source: str, size: tuple[int, int], detections: Detections, classes: Sequence[str]
) -> dict[str, Any]:
    """Converts the detections of one image to the entry that `--json` prints.

    Args:
        source: Path, camera number or URL of the source.
        size: Height and width of the original image.
        detections: The objects found in it.
        classes: Names of the classes, by label.
    """
    height, width = size
    return {
        "source": source,
        "width": width,
        "height": height,
        "detections": [
            {
                "label": classes[label],
                "score": round(float(score), 4),
                "box": [round(float(corner), 2) for corner in box],
            }
            for box, score, label in zip(
                detections.boxes, detections.scores, detections.labels, strict=True
            )
        ],
    }
