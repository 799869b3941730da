"""Ground truth + anchors -> which predictions answer for which objects."""

from typing import NamedTuple

import numpy as np
from keras import KerasTensor, ops

from nets.versions import ANCHORS_PER_LEVEL, strides_of


class Assignment(NamedTuple):
    """The targets of a batch: a row a ground truth, anchor and cell, M = N * A * cells an image.

    A anchors are those of all levels. The rows of one ground truth are neighbours. Of cells there
    is 1, or 3 with `neighbours`.

    Attributes:
        rows: (B, M) int32, index of the prediction among the P of its image.
        positive: (B, M) float32, 1 where that prediction answers for that ground truth.
        objectness: (B, P) float32, 1 where a prediction answers for any ground truth.
    """

    rows: KerasTensor
    positive: KerasTensor
    objectness: KerasTensor


def assign(
    gt_boxes: KerasTensor,
    gt_labels: KerasTensor,
    anchors: np.ndarray,
    input_size: tuple[int, int],
    match_iou: float,
    neighbours: bool = False,
) -> Assignment:
    """Gives each ground truth the cell of its centre, and there the anchors of its shape.

    The anchor of the best shape always answers, and with it every anchor whose shape overlaps by
    more than `match_iou` (Darknet's `iou_thresh`). With `neighbours`, so do these anchors in the
    two cells that lie nearest to the centre beside its own (as in YOLOv5). Where two ground truths
    claim one prediction, the one whose centre it holds has it, then the one that fits the anchor
    better, so that no target is ever a mixture.

    Args:
        gt_boxes: (B, N, 4) xyxy pixels.
        gt_labels: (B, N) int, -1 for padding.
        anchors: (levels, 3, 2) pixels, the smallest stride first.
        input_size: height and width of the input in pixels.
        match_iou: shape overlap, 0..1.
        neighbours: whether the two nearest neighbouring cells answer, too.

    Returns:
        The assignment, of static shape.
    """
    levels = strides_of(anchors)
    grids = [(input_size[0] // stride, input_size[1] // stride) for stride in levels]
    predictions = [rows * cols * ANCHORS_PER_LEVEL for rows, cols in grids]
    # One entry for each of the A anchors of all levels:
    strides = np.repeat(np.array(levels, np.float32), ANCHORS_PER_LEVEL)
    last_cell = np.repeat(np.array(grids, np.int32)[:, ::-1] - 1, ANCHORS_PER_LEVEL, axis=0)
    columns = last_cell[:, 0] + 1
    first_row = np.repeat(np.cumsum([0, *predictions[:-1]]), ANCHORS_PER_LEVEL).astype(np.int32)
    slot = np.tile(np.arange(ANCHORS_PER_LEVEL, dtype=np.int32), len(levels))

    # 1. Which anchors fit the shape: (B, N, A).
    size = gt_boxes[..., 2:] - gt_boxes[..., :2]
    fit = shape_iou(size, anchors.reshape(-1, 2))
    best = ops.one_hot(ops.argmax(fit, axis=-1), fit.shape[-1])
    chosen = ops.logical_or(best > 0, fit > match_iou)
    chosen = ops.logical_and(chosen, ops.expand_dims(gt_labels >= 0, -1))

    # 2. The cell that holds the centre at each anchor's stride, then those beside it on the side
    #    where the centre lies, as far as there are any: (B, N, A, cells, 2).
    centre = 0.5 * (gt_boxes[..., :2] + gt_boxes[..., 2:])
    place = centre[:, :, None, None, :] / strides[:, None, None]
    cell = ops.clip(ops.cast(place, "int32"), 0, last_cell[:, None])
    if neighbours:
        side = ops.where(place - ops.cast(cell, place.dtype) < 0.5, -1, 1)
        cell = cell + side * np.array([(0, 0), (1, 0), (0, 1)], np.int32)
    inside = ops.all(ops.logical_and(cell >= 0, cell <= last_cell[:, None]), axis=-1)
    cell = ops.clip(cell, 0, last_cell[:, None])
    places = cell[..., 1] * columns[:, None] + cell[..., 0]
    rows = (first_row + slot)[:, None] + places * ANCHORS_PER_LEVEL

    # 3. One ground truth a prediction: the one at home there wins, then the best fit, then the
    #    earlier object. The rank is exact in float32 up to 800 objects.
    batch, objects, shapes, cells = rows.shape
    at_home = np.array([1.0] + [0.0] * (cells - 1), np.float32)
    earlier_first = np.arange(objects, dtype=np.float32)[::-1, None, None]
    score = ops.floor(ops.expand_dims(fit, -1) * 1e4) + 10001.0 * at_home
    rank = score * objects + earlier_first + 1.0
    chosen = ops.logical_and(ops.expand_dims(chosen, -1), inside)
    flat = (batch, objects * shapes * cells)
    rows, rank, chosen = (ops.reshape(tensor, flat) for tensor in (rows, rank, chosen))
    rank = ops.where(chosen, rank, 0.0)
    total = sum(predictions)
    everywhere = rows + np.arange(batch, dtype=np.int32)[:, None] * total
    highest = ops.segment_max(
        ops.reshape(rank, (-1,)), ops.reshape(everywhere, (-1,)), num_segments=batch * total
    )
    positive = ops.logical_and(chosen, ops.take(highest, everywhere) == rank)
    objectness = ops.reshape(highest, (batch, total)) > 0
    return Assignment(rows, ops.cast(positive, "float32"), ops.cast(objectness, "float32"))


def shape_iou(sizes: KerasTensor, anchors: np.ndarray) -> KerasTensor:
    """IoU of boxes and anchors laid on one corner, which compares nothing but their shapes.

    Args:
        sizes: (..., 2) width and height.
        anchors: (A, 2) width and height.

    Returns:
        (..., A) in 0..1.
    """
    sizes = ops.expand_dims(sizes, -2)
    shared = ops.prod(ops.minimum(sizes, anchors), axis=-1)
    return shared / (ops.prod(sizes, axis=-1) + anchors.prod(axis=-1) - shared)
