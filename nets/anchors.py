"""Anchors: the published ones, and their file.

Anchors are one array (3, 3, 2): a level for each of the strides 8, 16 and 32, three anchors each,
width and height in input pixels.
"""

import re
from os import PathLike
from pathlib import Path

import numpy as np

# Of Darknet's yolov3.cfg and yolov4.cfg, found on COCO at 416 and 512 pixels.
V3_ANCHORS = np.array(
    [
        [(10, 13), (16, 30), (33, 23)],
        [(30, 61), (62, 45), (59, 119)],
        [(116, 90), (156, 198), (373, 326)],
    ],
    np.float32,
)
V4_ANCHORS = np.array(
    [
        [(12, 16), (19, 36), (40, 28)],
        [(36, 75), (76, 55), (72, 146)],
        [(142, 110), (192, 243), (459, 401)],
    ],
    np.float32,
)


def load_anchors(path: str | PathLike[str]) -> np.ndarray:
    """Read nine anchors, smallest first: `12,16 19,36 ...`, commas and white space as one likes.

    Returns:
        float32 (3, 3, 2).

    Raises:
        ValueError: The file holds anything but nine pairs of positive numbers.
    """
    words = [word for word in re.split(r"[,\s]+", Path(path).read_text(encoding="utf-8")) if word]
    try:
        anchors = np.array(words, np.float32)
    except ValueError as error:
        raise ValueError(f"anchors in {path}: {error}") from error
    if anchors.size != V4_ANCHORS.size:
        raise ValueError(f"anchors in {path}: {anchors.size} numbers, not nine pairs width,height")
    if not (np.isfinite(anchors) & (anchors > 0)).all():
        raise ValueError(f"anchors in {path}: widths and heights must be positive")
    return anchors.reshape(V4_ANCHORS.shape)


def save_anchors(path: str | PathLike[str], anchors: np.ndarray) -> None:
    """Write anchors (3, 3, 2) as `load_anchors` reads them, every digit kept."""
    numbers = [np.format_float_positional(side, trim="-") for side in np.float32(anchors).flat]
    pairs = [",".join(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    Path(path).write_text("  ".join(pairs) + "\n", encoding="utf-8")
