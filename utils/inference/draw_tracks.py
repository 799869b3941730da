"""Draws the trails of tracked objects, and a line with the number of its crossings."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.inference.draw import (
    Label,
    class_colour,
    draw_label,
    font_for,
    font_size,
    line_width,
)
from utils.inference.line_counter import Line, describe_crossings
from utils.inference.tracks import Tracks

YELLOW = (255, 220, 0)
ARROW = 0.15  # length of the arrow, as a fraction of the line


def draw_tracks(picture: np.ndarray, tracks: Tracks, classes: Sequence[str]) -> None:
    """Draws trails in the colours of their classes, and the line whose crossings are counted.

    Args:
        picture: RGB uint8 (height, width, 3); modified.
        tracks: What to draw, in pixels of the picture.
        classes: Names of the classes, by label.
    """
    width = line_width(picture)
    for trail in tracks.trails:
        points = np.rint(trail.points).astype(np.int32)
        cv2.polylines(picture, [points], False, class_colour(trail.label), width)
    if tracks.line and tracks.crossings:
        _draw_line(picture, tracks.line, width)
        names = [classes[label] for counts in tracks.crossings.values() for label in counts]
        texts = describe_crossings(tracks.crossings, classes)
        _draw_texts(picture, tracks.line.start, texts, font_for(" ".join(names)))


def _draw_line(picture: np.ndarray, line: Line, width: int) -> None:
    """Draws a line, and an arrow from its middle to the side that is called in."""
    start, end = np.array(line.start), np.array(line.end)
    along = end - start
    middle = (start + end) / 2
    tip = middle + ARROW * np.array([along[1], -along[0]])
    from_to = [tuple(np.rint(point).astype(int).tolist()) for point in (start, end, middle, tip)]
    cv2.line(picture, *from_to[:2], YELLOW, width, cv2.LINE_AA)
    cv2.arrowedLine(picture, *from_to[2:], YELLOW, width, cv2.LINE_AA)


def _draw_texts(
    picture: np.ndarray, point: tuple[float, float], texts: Sequence[str], font: Path | None
) -> None:
    """Draws texts one below another, at a point or as close to it as the picture allows."""
    size = font_size(picture)
    row = math.ceil(1.3 * size)  # as high as a label
    left, top = np.rint(point).astype(int)
    top = min(max(top - row, 0), picture.shape[0] - len(texts) * row)
    for i, text in enumerate(texts):
        # `draw_label` puts a text above the point if there is room.
        draw_label(picture, left, top + (i + 1) * row, Label(text, font, size, YELLOW))
