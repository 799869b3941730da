"""Finds the box of an outline of COCO: polygons, or a mask in run-length encoding."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from utils.data.formats.records import Box

# Of pycocotools' compressed counts: groups of 5 bits, the 6th says that more follow, from chr(48).
BITS, MORE, SIGN, FIRST_CHARACTER = 5, 0x20, 0x10, 48
MAX_BITS = 64  # of a count


def outline_box(outline: object) -> Box | None:
    """Returns the box xyxy around the `segmentation` of an annotation.

    Args:
        outline: A list of polygons `[x1, y1, x2, y2, ...]`, or a mask, a dict with `size` (height
            and width) and `counts`, a list or pycocotools' compressed text.

    Returns:
        The box; None if the outline is empty or malformed.
    """
    try:
        if isinstance(outline, dict):
            return _mask_box(outline)
        return polygon_box([float(value) for polygon in outline for value in polygon])
    except (TypeError, ValueError, LookupError, OverflowError):
        return None


def polygon_box(values: Sequence[float]) -> Box | None:
    """Returns the box xyxy around points `x1, y1, x2, y2, ...`; None if there are none."""
    if not values or len(values) % 2:
        return None
    xs, ys = values[::2], values[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _mask_box(mask: dict) -> Box | None:
    height = int(mask["size"][0])
    counts = mask["counts"]
    counts = _decompress(counts) if isinstance(counts, str) else [int(each) for each in counts]
    if height < 1 or min(counts, default=0) < 0:
        return None
    ends = list(accumulate(counts))
    # Runs of zeros and ones alternate, down the columns from left to right.
    runs = [
        (start, end - 1) for start, end in zip(ends[0::2], ends[1::2], strict=False) if end > start
    ]
    if not runs:
        return None
    first, last = np.array(runs).T
    columns, rows = np.divmod(np.concatenate([first, last]), height)
    if (first // height != last // height).any():  # a run that goes on at the top of a column
        rows = np.array([0, height - 1])
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def _decompress(text: str) -> list[int]:
    """Decodes counts as `rleFrString` of pycocotools does (common/maskApi.c)."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - FIRST_CHARACTER
        if not 0 <= code < 2 * MORE or shift > MAX_BITS:
            raise ValueError(f"{character!r} is not a part of compressed counts")
        value |= (code & (MORE - 1)) << shift
        shift += BITS
        if code & MORE:
            continue
        if code & SIGN:
            value -= 1 << shift
        # From the third on, counts are differences to the one before the last.
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the text ends within a number")
    return counts
