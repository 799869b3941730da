"""Decodes raw logits into boxes, for training and for prediction."""

import math
from dataclasses import dataclass, fields

import numpy as np
from keras import KerasTensor, ops

from nets.versions import ANCHORS_PER_LEVEL, check_input_size, strides_of

# Largest logarithm of a box side over its anchor's; exp() of a larger logit would overflow.
MAX_LOG_GROWTH = math.log(1000 / 16)


@dataclass(frozen=True)
class Priors:
    """The priors of all predictions: one row per prediction, in the order of the logits.

    Attributes:
        cells: (P, 2) column and row of the cell.
        strides: (P, 1) size of a cell in pixels.
        anchors: (P, 2) width and height in pixels.
        scale_xy: (P, 1) factor that stretches the sigmoid of the centre.
        levels: (P,) index of the pyramid level, from 0.
    """

    cells: np.ndarray
    strides: np.ndarray
    anchors: np.ndarray
    scale_xy: np.ndarray
    levels: np.ndarray

    def at(self, rows: KerasTensor) -> "Priors":
        """Gathers the priors of the given predictions.

        Args:
            rows: (...) int, indices of predictions.

        Returns:
            Priors as tensors, whose leading dimensions are those of `rows`.
        """
        tables = (getattr(self, field.name) for field in fields(self))
        return Priors(*(ops.take(table, rows, axis=0) for table in tables))


def make_priors(
    input_size: tuple[int, int], anchors: np.ndarray, scale_xy: tuple[float, ...]
) -> Priors:
    """Places the anchors in the cells of all levels.

    Args:
        input_size: Height and width in pixels, multiples of 32.
        anchors: (levels, 3, 2) width and height in pixels, smallest stride first.
        scale_xy: Factor that stretches the sigmoid of the centre, one per level.

    Returns:
        The priors of the P predictions of one image.

    Raises:
        ValueError: A side of the input is not a multiple of 32.
    """
    check_input_size(input_size)
    height, width = input_size
    columns = {field.name: [] for field in fields(Priors)}
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
    joined = {name: np.concatenate(parts).astype(np.float32) for name, parts in columns.items()}
    return Priors(**{**joined, "levels": joined["levels"].astype(np.int32)})


def decode_boxes(logits: KerasTensor, priors: Priors) -> KerasTensor:
    """Turns box logits into boxes (YOLOv3, section 2.1; `scale_xy` from YOLOv4).

    Args:
        logits: (..., 4 or more), of which the first four are tx, ty, tw, th.
        priors: Priors whose leading dimensions are those of `logits`, or broadcast to them.

    Returns:
        (..., 4) xyxy boxes in pixels of the input, not clipped to it.
    """
    return place_boxes(logits[..., 0:2], logits[..., 2:4], priors)


def place_boxes(centre: KerasTensor, size: KerasTensor, priors: Priors) -> KerasTensor:
    """Does the same from separate logits of centre and size.

    Args:
        centre: (..., 2) logits tx, ty.
        size: (..., 2) logits tw, th.
        priors: Priors, as in `decode_boxes`.

    Returns:
        (..., 4) boxes, as `decode_boxes` returns them.
    """
    scale_xy = priors.scale_xy
    offset = ops.sigmoid(centre) * scale_xy - 0.5 * (scale_xy - 1.0)
    centre = (offset + priors.cells) * priors.strides
    size = ops.exp(ops.minimum(size, MAX_LOG_GROWTH)) * priors.anchors
    return ops.concatenate([centre - 0.5 * size, centre + 0.5 * size], axis=-1)
