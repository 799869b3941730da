"""Anchors: the published ones, and their file.

Anchors are one array (levels, 3, 2): a level for each of the strides 8, 16 and 32, or 16 and 32,
three anchors each, width and height in input pixels.
"""

import re
from os import PathLike
from pathlib import Path

import numpy as np

from nets.versions import ANCHORS_PER_LEVEL

# Of Darknet's cfg/, found on COCO: yolov3.cfg's at 416 pixels, yolov4.cfg's at 512.
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
V3_TINY_ANCHORS = np.array(
    [[(10, 14), (23, 27), (37, 58)], [(81, 82), (135, 169), (344, 319)]], np.float32
)
# Not a slip here: yolov4-tiny.cfg gives stride 16 the masks 1,2,3, and its weights were so trained.
V4_TINY_ANCHORS = np.array(
    [[(23, 27), (37, 58), (81, 82)], [(81, 82), (135, 169), (344, 319)]], np.float32
)
DEFAULT_ANCHORS = {
    "v3": V3_ANCHORS,
    "v3-spp": V3_ANCHORS,
    "v3-tiny": V3_TINY_ANCHORS,
    "v4": V4_ANCHORS,
    "v4-tiny": V4_TINY_ANCHORS,
}


def load_anchors(path: str | PathLike[str]) -> np.ndarray:
    """Read nine or six anchors, smallest first: `12,16 19,36 ...`, commas and spaces as one likes.

    Returns:
        float32 (levels, 3, 2), three levels of nine anchors or two of six.

    Raises:
        ValueError: The file holds anything but nine or six pairs of positive numbers.
    """
    words = [word for word in re.split(r"[,\s]+", Path(path).read_text(encoding="utf-8")) if word]
    try:
        anchors = np.array(words, np.float32)
    except ValueError as error:
        raise ValueError(f"anchors in {path}: {error}") from error
    if anchors.size not in (V4_ANCHORS.size, V4_TINY_ANCHORS.size):
        raise ValueError(
            f"anchors in {path}: {anchors.size} numbers, not nine or six pairs width,height"
        )
    if not (np.isfinite(anchors) & (anchors > 0)).all():
        raise ValueError(f"anchors in {path}: widths and heights must be positive")
    return anchors.reshape(-1, ANCHORS_PER_LEVEL, 2)


def save_anchors(path: str | PathLike[str], anchors: np.ndarray) -> None:
    """Write anchors (levels, 3, 2) as `load_anchors` reads them, every digit kept."""
    numbers = [np.format_float_positional(side, trim="-") for side in np.float32(anchors).flat]
    pairs = [",".join(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    Path(path).write_text("  ".join(pairs) + "\n", encoding="utf-8")
