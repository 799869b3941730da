"""What is drawn and reported of the tracks of a video, besides the ids of its detections."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.inference.line_counter import Crossings, Line


@dataclass(frozen=True, eq=False)
class Trail:
    """The way that an object has come.

    Attributes:
        label: Its class in the last frame that shows it.
        points: (n, 2) centres of its boxes, oldest first, in pixels.
    """

    label: int
    points: np.ndarray


@dataclass(frozen=True, eq=False)
class Tracks:
    """The state of a tracker after a frame.

    Attributes:
        trails: Trails of all objects that are or may become visible again.
        line: The line whose crossings are counted; None if there is none.
        crossings: Number of crossings since the first frame, by direction and label; None without
            a line.
    """

    trails: Sequence[Trail]
    line: Line | None = None
    crossings: Crossings | None = None
