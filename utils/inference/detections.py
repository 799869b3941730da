"""What was found in one image, and its JSON form."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, best score first.

    Attributes:
        boxes: `(N, 4)` float32 corners `xmin, ymin, xmax, ymax`, pixels of the original image.
        scores: `(N,)` float32, objectness times class probability, 0..1.
        labels: `(N,)` int32 indices into the class list.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """How many objects were found."""
        return len(self.scores)


def to_json(
    source: str, size: tuple[int, int], detections: Detections, classes: list[str]
) -> dict[str, Any]:
    """Turns one image's detections into the entry that `--json` prints.

    Args:
        source: where the image came from.
        size: `(height, width)` of the original image.
        detections: what was found in it.
        classes: names, by label.
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
