"""Counts the objects that cross a line, by class and direction."""

import argparse
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from utils.inference.detections import Detections

Direction = Literal["in", "out"]
Crossings = Mapping[Direction, Mapping[int, int]]

# A centre that is closer to the line than this fraction of its box, at the shorter side, is on
# neither side. The boxes of detectors tremble by a few percent, which must not count.
NEUTRAL = 0.1
NUMBER = re.compile(r"-?[0-9]{1,6}(\.[0-9]{1,6})?")


@dataclass(frozen=True)
class Line:
    """A line from `start` to `end`, both (x, y) in pixels of the video.

    An object goes in if it crosses the line from the right to the left of someone who looks from
    `start` to `end`, as in supervision: upwards, if the line is drawn from left to right.
    """

    start: tuple[float, float]
    end: tuple[float, float]


def parse_line(text: str) -> Line:
    """Parses `x1,y1,x2,y2`, as the `type` of a flag."""
    numbers = [word.strip() for word in text.split(",")]
    if len(numbers) != 4 or not all(map(NUMBER.fullmatch, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not x1,y1,x2,y2 in pixels")
    x1, y1, x2, y2 = map(float, numbers)
    if (x1, y1) == (x2, y2):
        raise argparse.ArgumentTypeError(f"{text!r} is a point, specify two different ones")
    return Line((x1, y1), (x2, y2))


def describe_crossings(crossings: Crossings, classes: Sequence[str]) -> list[str]:
    """Describes numbers of crossings in one text per direction, such as `in: 2 car, 1 person`.

    Args:
        crossings: The numbers, by direction and label.
        classes: Names of the classes, by label.
    """
    texts = []
    for direction, counts in crossings.items():
        numbers = [f"{number} {classes[label]}" for label, number in sorted(counts.items())]
        texts.append(f"{direction}: {', '.join(numbers) or '0'}")
    return texts


@dataclass
class _Path:
    """What is known of a track: labels of its detections, and where it last was on a side."""

    labels: Counter[int] = field(default_factory=Counter)
    centre: np.ndarray | None = None
    distance: float = 0.0


class LineCounter:
    """Counts the tracks whose centre crosses a line.

    Only the line itself counts, not its extension. The path between two frames, or through a gap
    in which an object was hidden, is straight. The class of an object is the one it had most often.

    Args:
        line: The line.
    """

    def __init__(self, line: Line):
        start, end = np.array(line.start), np.array(line.end)
        self._start = start
        self._length = float(np.hypot(*(end - start)))
        self._along = (end - start) / self._length
        self._right = np.array([-self._along[1], self._along[0]])  # y points downwards
        self._paths: dict[int, _Path] = {}
        self._counts: dict[Direction, Counter[int]] = {"in": Counter(), "out": Counter()}

    @property
    def counts(self) -> Crossings:
        """Number of crossings so far, by direction and label; a copy."""
        return {direction: dict(counts) for direction, counts in self._counts.items()}

    def update(self, found: Detections, alive: Collection[int]) -> None:
        """Counts the crossings since the last frame.

        Args:
            found: Tracked detections; those without a track are ignored.
            alive: Ids of the tracks that can appear again; all others are forgotten.
        """
        for box, label, track in zip(found.boxes, found.labels, found.track_ids, strict=True):
            if track < 0:
                continue
            path = self._paths.setdefault(int(track), _Path())
            path.labels[int(label)] += 1
            centre = (box[:2] + box[2:]) / 2
            distance = float((centre - self._start) @ self._right)
            if abs(distance) <= NEUTRAL * float((box[2:] - box[:2]).min()):
                continue
            if path.distance * distance < 0 and self._crosses(path, centre, distance):
                ((usual, _),) = path.labels.most_common(1)
                self._counts["in" if distance < 0 else "out"][usual] += 1
            path.centre, path.distance = centre, distance
        self._paths = {track: path for track, path in self._paths.items() if track in alive}

    def _crosses(self, path: _Path, centre: np.ndarray, distance: float) -> bool:
        """Whether a path to the other side of the extended line meets the line itself."""
        part = path.distance / (path.distance - distance)
        meeting = path.centre + part * (centre - path.centre)
        return 0 <= (meeting - self._start) @ self._along <= self._length
