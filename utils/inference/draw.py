"""Boxes, labels and heatmaps over pictures. RGB in, a new RGB picture out."""

import colorsys
import logging
import math
from collections.abc import Set
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from matplotlib import font_manager, ft2font
from PIL import Image, ImageDraw, ImageFont

from utils.inference.detections import Detections


def draw_boxes(
    image: np.ndarray, detections: Detections, classes: list[str], show_scores: bool = True
) -> np.ndarray:
    """Draws each detection's box with its class and score.

    Args:
        image: RGB uint8 `(height, width, 3)`; stays as it is.
        detections: in pixels of `image`.
        classes: names, by label.
        show_scores: whether the score stands behind the name; ground truth has none.
    """
    canvas = image.copy()
    scale = sum(image.shape[:2]) / 2
    line = math.ceil(0.003 * scale)
    size = round(6 + 0.018 * scale)
    corners = np.rint(detections.boxes).astype(int)
    worst_first = np.argsort(detections.scores, kind="stable")
    for i in worst_first:
        colour = class_colour(detections.labels[i])
        cv2.rectangle(canvas, corners[i, :2].tolist(), corners[i, 2:].tolist(), colour, line)
    # All labels after all boxes, so that no line crosses a word.
    for i in worst_first:
        name, colour = classes[detections.labels[i]], class_colour(detections.labels[i])
        text = f"{name} {detections.scores[i]:.2f}" if show_scores else name
        left, top = corners[i, :2] - (line // 2, 0)
        _draw_label(canvas, left, top, text, font_for(name), size, colour)
    return canvas


def draw_heatmap(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lays a heatmap over a picture: the warmer, the surer the network.

    Args:
        image: RGB uint8 `(height, width, 3)`; stays as it is.
        heat: `(height, width)` float32, 0..1.
    """
    colours = cv2.applyColorMap(np.uint8(heat * 255), cv2.COLORMAP_JET)[..., ::-1]
    # The root shows weak responses too, and where there is none the picture stays as it was.
    strength = 0.6 * np.sqrt(heat)[..., None]
    return np.uint8(image * (1 - strength) + colours * strength)


def class_colour(label: int) -> tuple[int, int, int]:
    """The RGB colour of a class: always the same, and far from that of its neighbours."""
    # Steps of the golden ratio spread any number of hues evenly; the shade tells close ones apart.
    saturation, value = ((0.85, 1.0), (0.55, 1.0), (0.9, 0.7))[label % 3]
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


@cache
def font_for(name: str) -> Path | None:
    """Finds a font file with every letter of a class name.

    Matplotlib's DejaVu Sans has Latin, Greek, Cyrillic, Arabic and Hebrew. None stands for
    WenQuanYi Micro Hei, which is inside OpenCV 5 and has Chinese, Japanese and Korean on every
    machine. What neither has is looked for among the machine's own fonts.
    """
    letters = {ord(letter) for letter in name}
    dejavu = Path(font_manager.findfont("DejaVu Sans"))
    if letters <= _letters_of(dejavu):
        return dejavu
    if not any(_is_unknown_to_opencv(letter) for letter in name):
        return None
    # Of a family's files the plain one has the shortest name.
    for font in sorted(map(Path, font_manager.findSystemFonts()), key=lambda path: len(path.name)):
        if letters <= _letters_of(font):
            return font
    logging.getLogger(__name__).warning(
        "warning: no font here has all letters of %r, install one, for example Noto Sans", name
    )
    return None


def _letters_of(font: Path) -> Set[int]:
    try:
        face = ft2font.FT2Font(str(font))
    except RuntimeError:  # no font that FreeType can read
        return set()
    # Fonts of coloured pictures come in one size only.
    scalable = ft2font.FaceFlags.SCALABLE in face.face_flags
    return face.get_charmap().keys() if scalable else set()


def _is_unknown_to_opencv(letter: str) -> bool:
    """OpenCV's own font shows a question mark for what it lacks."""
    return letter != "?" and np.array_equal(_opencv_mask(letter, 20), _opencv_mask("?", 20))


def _draw_label(
    canvas: np.ndarray,
    left: int,
    top: int,
    text: str,
    font: Path | None,
    size: int,
    colour: tuple[int, int, int],
) -> None:
    """Writes `text` on a bar of `colour` over a box's top left corner, inside the picture."""
    height, width = canvas.shape[:2]
    mask = _text_mask(text, font, size)
    while mask.shape[1] > width and size > 7:
        size -= 1
        mask = _text_mask(text, font, size)
    mask = mask[:height, :width]
    # Above the box where there is room, else at the top inside it.
    top = top - mask.shape[0] if top >= mask.shape[0] else top
    top = min(max(top, 0), height - mask.shape[0])
    left = min(max(left, 0), width - mask.shape[1])
    # Black or white, whichever has more contrast with the bar (WCAG 2.1, relative luminance).
    luminance = np.dot((np.array(colour) / 255) ** 2.2, (0.2126, 0.7152, 0.0722))
    ink = 0 if luminance > 0.179 else 255
    bar = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    bar[:] = colour + (ink - np.float32(colour)) * (mask[..., None] / np.float32(255))


def _text_mask(text: str, font: Path | None, size: int) -> np.ndarray:
    """Writes white on black, `(about 1.3 size, length)` uint8."""
    if font is None:
        return _opencv_mask(text, size)
    face = _open_font(font, size)
    margin = math.ceil(size / 6)
    mask = Image.new("L", (math.ceil(face.getlength(text)) + 2 * margin, math.ceil(size * 1.3)))
    ImageDraw.Draw(mask).text((margin, size), text, 255, face, anchor="ls")
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
