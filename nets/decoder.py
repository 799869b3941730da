"""From raw logits to boxes. The only place where this is done."""

import math
from dataclasses import dataclass

import numpy as np
from keras import KerasTensor, ops

from nets.versions import ANCHORS_PER_LEVEL, strides_of

# Largest growth of an anchor: exp() of a larger logit would overflow long before it was useful.
MAX_LOG_GROWTH = math.log(1000 / 16)


@dataclass(frozen=True)
class Priors:
    """What every prediction starts from, one row a prediction, in the order of the logits.

    Attributes:
        cells: (P, 2) column and row of the cell.
        strides: (P, 1) pixels a cell.
        anchors: (P, 2) width and height in pixels.
        scale_xy: (P, 1) stretch of the centre's sigmoid.
        levels: (P,) index of the pyramid level, from 0.
    """

    cells: np.ndarray
    strides: np.ndarray
    anchors: np.ndarray
    scale_xy: np.ndarray
    levels: np.ndarray


def make_priors(
    input_size: tuple[int, int], anchors: np.ndarray, scale_xy: tuple[float, ...]
) -> Priors:
    """Lays the anchors out over the cells of all levels.

    Args:
        input_size: height and width in pixels, multiples of 32.
        anchors: (levels, 3, 2) width and height in pixels, the smallest stride first.
        scale_xy: one stretch a level.

    Returns:
        The priors of the P predictions of one image.

    Raises:
        ValueError: if the input size is no multiple of 32.
    """
    height, width = input_size
    if height % 32 or width % 32 or min(height, width) < 32:
        raise ValueError(f"input size {height}x{width} is not a multiple of 32; use e.g. 416")
    columns = {field: [] for field in Priors.__dataclass_fields__}
    for level, stride in enumerate(strides_of(anchors)):
        rows, cols = height // stride, width // stride
        row, col = np.mgrid[:rows, :cols]
        cells = np.stack([col.ravel(), row.ravel()], axis=-1)
        count = rows * cols * ANCHORS_PER_LEVEL
        columns["cells"].append(np.repeat(cells, ANCHORS_PER_LEVEL, axis=0))
        columns["strides"].append(np.full((count, 1), stride))
        columns["anchors"].append(np.tile(anchors[level], (rows * cols, 1)))
        columns["scale_xy"].append(np.full((count, 1), scale_xy[level]))
        columns["levels"].append(np.full(count, level))
    joined = {field: np.concatenate(parts).astype(np.float32) for field, parts in columns.items()}
    return Priors(**{**joined, "levels": joined["levels"].astype(np.int32)})


def decode_boxes(
    logits: KerasTensor,
    cells: KerasTensor,
    strides: KerasTensor,
    anchors: KerasTensor,
    scale_xy: KerasTensor,
) -> KerasTensor:
    """Turns box logits into boxes (YOLOv3, section 2.1; `scale_xy` from YOLOv4).

    All arguments share their leading dimensions, so whole maps and single rows work alike.

    Args:
        logits: (..., 4 or more), of which the first four are tx, ty, tw, th.
        cells: (..., 2) column and row.
        strides: (..., 1) pixels.
        anchors: (..., 2) pixels.
        scale_xy: (..., 1).

    Returns:
        (..., 4) boxes as xyxy in pixels of the input, not clipped to it.
    """
    offset = ops.sigmoid(logits[..., 0:2]) * scale_xy - 0.5 * (scale_xy - 1.0)
    centre = (cells + offset) * strides
    size = anchors * ops.exp(ops.minimum(logits[..., 2:4], MAX_LOG_GROWTH))
    return ops.concatenate([centre - 0.5 * size, centre + 0.5 * size], axis=-1)
