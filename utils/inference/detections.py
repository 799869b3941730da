"""The detections of one image, their JSON form, and the error of a network that gives none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import JobError


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, highest score first.

    Attributes:
        boxes: (N, 4) float32 corners `xmin, ymin, xmax, ymax` in pixels of the original image.
        scores: (N,) float32, objectness times class probability, 0..1.
        labels: (N,) int32 indices into the class list.
        at_limit: Whether as many detections were found as non-maximum suppression may keep, so that
            others may be missing.
        track_ids: (N,) int32 ids from 1, which stay with the objects of a video; -1 for an object
            without a track; None if objects are not tracked.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    at_limit: bool = False
    track_ids: np.ndarray | None = None

    def __len__(self) -> int:
        """The number of objects."""
        return len(self.scores)


class NanError(JobError):
    """The network computes NaN for an image.

    Attributes:
        index: Position of the image among those that were passed to the predictor.
    """

    def __init__(self, index: int):
        super().__init__(f"the network computes NaN for image {index} of a batch")
        self.index = index

    def named(self, image: object, origin: object) -> JobError:
        """Returns an error that names the image and the origin of the weights."""
        return JobError(
            f"{origin} computes NaN for {image}: its weights are damaged or training has diverged, "
            "restore them or train again with a lower --lr"
        )


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
    entry = {
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
    if detections.track_ids is not None:
        for each, track in zip(entry["detections"], detections.track_ids.tolist(), strict=True):
            each["track_id"] = track if track >= 0 else None
    return entry
