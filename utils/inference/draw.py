"""Draws boxes, labels and heat maps into copies of RGB images."""

import colorsys
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.fonts import find_font, missing_letters, plain_font
from utils.inference.detections import Detections

MIN_FONT_SIZE = 7  # pixels


@dataclass(frozen=True)
class Label:
    """A text on a bar.

    Attributes:
        text: The text.
        font: File of the font; None for OpenCV's own.
        size: Size of the font in pixels.
        colour: RGB colour of the bar.
    """

    text: str
    font: Path | None
    size: int
    colour: tuple[int, int, int]


def draw_boxes(
    image: np.ndarray, detections: Detections, classes: Sequence[str], show_scores: bool = True
) -> np.ndarray:
    """Draws the box of each detection with its class, its id if it is tracked, and its score.

    Args:
        image: RGB uint8 (height, width, 3); not modified.
        detections: The detections, in pixels of `image`.
        classes: Names of the classes, by label.
        show_scores: Whether to show the scores; ground truth has none.

    Returns:
        RGB uint8 (height, width, 3).
    """
    canvas = image.copy()
    line, size = line_width(image), font_size(image)
    corners = np.rint(detections.boxes).astype(int)
    worst_first = np.argsort(detections.scores, kind="stable")
    for i in worst_first:
        colour = class_colour(detections.labels[i])
        cv2.rectangle(canvas, corners[i, :2].tolist(), corners[i, 2:].tolist(), colour, line)
    # Labels come after all boxes, so that no line crosses a text.
    for i in worst_first:
        name, colour = classes[detections.labels[i]], class_colour(detections.labels[i])
        text = name
        if detections.track_ids is not None and detections.track_ids[i] >= 0:
            text += f" #{detections.track_ids[i]}"
        if show_scores:
            text += f" {detections.scores[i]:.2f}"
        left, top = corners[i, :2] - (line // 2, 0)
        draw_label(canvas, left, top, Label(text, font_for(name), size, colour))
    return canvas


def draw_heatmap(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Blends a heat map into an image, from blue for low scores to red for high ones.

    Args:
        image: RGB uint8 (height, width, 3); not modified.
        heat: (height, width) float32, 0..1; where it is 0, the image stays as it is.

    Returns:
        RGB uint8 (height, width, 3).
    """
    colours = cv2.applyColorMap(np.uint8(heat * 255), cv2.COLORMAP_JET)[..., ::-1]
    strength = 0.6 * np.sqrt(heat)[..., None]  # the root makes weak responses visible
    return np.uint8(image * (1 - strength) + colours * strength)


def line_width(image: np.ndarray) -> int:
    """Returns the width in pixels of lines that are drawn into an image."""
    return math.ceil(0.003 * sum(image.shape[:2]) / 2)


def font_size(image: np.ndarray) -> int:
    """Returns the size in pixels of texts that are drawn into an image."""
    return round(6 + 0.018 * sum(image.shape[:2]) / 2)


def class_colour(label: int) -> tuple[int, int, int]:
    """Returns the RGB colour of a class, which differs clearly from those of adjacent labels."""
    # Steps of the golden ratio spread any number of hues evenly. Similar hues differ in
    # saturation or brightness.
    saturation, value = ((0.85, 1.0), (0.55, 1.0), (0.9, 0.7))[label % 3]
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


@cache
def font_for(name: str) -> Path | None:
    """Finds a font that has every letter of a class name; warns if there is none.

    Args:
        name: Name of a class.

    Returns:
        The first of these that has all letters: DejaVu Sans; None, which selects WenQuanYi Micro
        Hei, a font in OpenCV 5 with Chinese, Japanese and Korean; an installed font. None if no
        font has all letters.
    """
    if not missing_letters(name):
        return plain_font()
    if not any(_opencv_lacks(letter) for letter in name):
        return None
    font = find_font(name)
    if font is None:
        logging.getLogger(__name__).warning(
            "warning: no installed font has all letters of %r, install Noto Sans, for example",
            name,
        )
    return font


def _opencv_lacks(letter: str) -> bool:
    """Whether OpenCV draws a question mark instead of this letter."""
    return letter != "?" and np.array_equal(_opencv_mask(letter, 20), _opencv_mask("?", 20))


def draw_label(canvas: np.ndarray, left: int, top: int, label: Label) -> None:
    """Draws a label at the top left corner of a box, moved so that it is inside the image."""
    height, width = canvas.shape[:2]
    mask = _text_mask(label)
    while mask.shape[1] > width and label.size > MIN_FONT_SIZE:
        label = replace(label, size=label.size - 1)
        mask = _text_mask(label)
    mask = mask[:height, :width]
    # Above the box if there is room, otherwise inside it.
    top = top - mask.shape[0] if top >= mask.shape[0] else top
    top = min(max(top, 0), height - mask.shape[0])
    left = min(max(left, 0), width - mask.shape[1])
    # Black or white text, whichever has more contrast with the bar (WCAG 2.1 relative luminance).
    luminance = np.dot((np.array(label.colour) / 255) ** 2.2, (0.2126, 0.7152, 0.0722))
    ink = 0 if luminance > 0.179 else 255
    bar = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    weight = mask[..., None] / np.float32(255)
    bar[:] = label.colour + (ink - np.float32(label.colour)) * weight


def _text_mask(label: Label) -> np.ndarray:
    """White text on black, uint8 (about 1.3 times the font size, length)."""
    size = label.size
    if label.font is None:
        return _opencv_mask(label.text, size)
    face = _open_font(label.font, size)
    margin = math.ceil(size / 6)
    length = math.ceil(face.getlength(label.text)) + 2 * margin
    mask = Image.new("L", (length, math.ceil(size * 1.3)))
    ImageDraw.Draw(mask).text((margin, size), label.text, 255, face, anchor="ls")
    return np.asarray(mask)


def _opencv_mask(text: str, size: int) -> np.ndarray:
    face = cv2.FontFace("uni")
    margin = math.ceil(size / 6)
    left, _, length, _ = cv2.getTextSize((0, 0), text, (0, 0), face, size)
    mask = np.zeros((math.ceil(size * 1.3), left + length + 2 * margin), np.uint8)
    cv2.putText(mask, text, (margin, size), (255,), face, size)
    return mask


@lru_cache(maxsize=16)
def _open_font(font: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font, size)
