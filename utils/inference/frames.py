"""Frames: images with their detections, which the prediction loop passes to the sinks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from utils.inference.detections import Detections
from utils.inference.draw import draw_boxes
from utils.inference.draw_tracks import draw_tracks
from utils.inference.sources import Source
from utils.inference.tracks import Tracks


@dataclass(frozen=True, eq=False)
class Frame:
    """A still image, or one frame of a video, with its detections.

    Attributes:
        source: The source of the image.
        image: RGB uint8 (height, width, 3).
        detections: The objects found in it, in pixels of `image`.
        classes: Names of the classes, by label.
        number: Index of the frame in its video, from 0; None for a still image.
        seconds: Time at which a live source delivered the frame, since the first read; 0 for files.
        tracks: Trails of the objects and counts of crossings; None if objects are not tracked.
    """

    source: Source
    image: np.ndarray
    detections: Detections
    classes: Sequence[str]
    number: int | None = None
    seconds: float = 0.0
    tracks: Tracks | None = None

    @property
    def name(self) -> str:
        """Name without suffix for files that are written for this frame."""
        number = "" if self.number is None else f"_{self.number:06d}"
        return f"{self.source.name}{number}"

    @cached_property
    def drawn(self) -> np.ndarray:
        """A copy of the image with the detections and their trails drawn in."""
        picture = draw_boxes(self.image, self.detections, self.classes)
        if self.tracks:
            draw_tracks(picture, self.tracks, self.classes)
        return picture
