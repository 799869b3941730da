"""Target assignment: which predictions are trained to find which objects."""

from typing import NamedTuple

import numpy as np
from keras import KerasTensor, ops

from nets.versions import ANCHORS_PER_LEVEL, strides_of


class GroundTruth(NamedTuple):
    """The objects of a batch of images.

    Attributes:
        boxes: (B, N, 4) xyxy pixels.
        labels: (B, N) int, -1 for padding.
    """

    boxes: KerasTensor
    labels: KerasTensor


class Assignment(NamedTuple):
    """The targets of a batch: M candidates per image, one per (ground truth, anchor, cell).

    M = N * A * cells, where A is the number of anchors of all levels, and there are 3 cells per
    anchor with `neighbours`, else 1. The candidates of one ground truth are contiguous.

    Attributes:
        rows: (B, M) int32, index of the candidate among the P predictions of its image.
        is_positive: (B, M) float32, 1 where the prediction is assigned to the ground truth.
        objectness: (B, P) float32, 1 where a prediction is assigned to any ground truth.
    """

    rows: KerasTensor
    is_positive: KerasTensor
    objectness: KerasTensor


def assign(
    truth: GroundTruth,
    anchors: np.ndarray,
    input_size: tuple[int, int],
    match_iou: float,
    neighbours: bool = False,
) -> Assignment:
    """Assigns predictions to ground truths by the cell of the centre and the shape of the anchor.

    In the cell that contains its centre, a ground truth is assigned to the anchor of the most
    similar shape and to every anchor whose shape IoU exceeds `match_iou` (Darknet's `iou_thresh`).
    With `neighbours`, it is also assigned to the same anchors in the two neighbouring cells that
    are nearest to its centre (as in YOLOv5). If several ground truths claim the same prediction,
    the one whose centre lies in the cell wins, then the one of the most similar shape. A prediction
    therefore never has more than one target.

    Args:
        truth: Objects of the batch.
        anchors: (levels, 3, 2) pixels, smallest stride first.
        input_size: Height and width of the input in pixels.
        match_iou: Shape IoU, 0..1.
        neighbours: Whether to assign two neighbouring cells as well.

    Returns:
        The assignment, whose shapes are static.
    """
    levels = strides_of(anchors)
    grids = [(input_size[0] // stride, input_size[1] // stride) for stride in levels]
    predictions = [rows * cols * ANCHORS_PER_LEVEL for rows, cols in grids]
    # One entry per anchor of all levels, A in total:
    strides = np.repeat(np.array(levels, np.float32), ANCHORS_PER_LEVEL)
    last_cell = np.repeat(np.array(grids, np.int32)[:, ::-1] - 1, ANCHORS_PER_LEVEL, axis=0)
    columns = last_cell[:, 0] + 1
    first_row = np.repeat(np.cumsum([0, *predictions[:-1]]), ANCHORS_PER_LEVEL).astype(np.int32)
    slot = np.tile(np.arange(ANCHORS_PER_LEVEL, dtype=np.int32), len(levels))

    # 1. Which anchors match the shape: (B, N, A).
    size = truth.boxes[..., 2:] - truth.boxes[..., :2]
    shape_match = shape_iou(size, anchors.reshape(-1, 2))
    best = ops.one_hot(ops.argmax(shape_match, axis=-1), shape_match.shape[-1])
    chosen = ops.logical_or(best > 0, shape_match > match_iou)
    chosen = ops.logical_and(chosen, ops.expand_dims(truth.labels >= 0, -1))

    # 2. The cell that contains the centre at each anchor's stride, then its neighbours on the side
    #    where the centre lies, if they are inside the grid: (B, N, A, cells, 2).
    centre = 0.5 * (truth.boxes[..., :2] + truth.boxes[..., 2:])
    place = centre[:, :, None, None, :] / strides[:, None, None]
    cell = ops.clip(ops.cast(place, "int32"), 0, last_cell[:, None])
    if neighbours:
        side = ops.where(place - ops.cast(cell, place.dtype) < 0.5, -1, 1)
        cell = cell + side * np.array([(0, 0), (1, 0), (0, 1)], np.int32)
    inside = ops.all(ops.logical_and(cell >= 0, cell <= last_cell[:, None]), axis=-1)
    cell = ops.clip(cell, 0, last_cell[:, None])
    places = cell[..., 1] * columns[:, None] + cell[..., 0]
    rows = (first_row + slot)[:, None] + places * ANCHORS_PER_LEVEL

    # 3. One ground truth per prediction: the one whose centre is in the cell wins, then the most
    #    similar shape, then the earlier ground truth.
    batch, objects, shapes, cells = rows.shape
    is_center_cell = np.array([1.0] + [0.0] * (cells - 1), np.float32)
    earlier_first = np.arange(objects, dtype=np.float32)[::-1, None, None]
    score = ops.floor(ops.expand_dims(shape_match, -1) * 1e4) + 10001.0 * is_center_cell
    rank = score * objects + earlier_first + 1.0
    chosen = ops.logical_and(ops.expand_dims(chosen, -1), inside)
    flat = (batch, objects * shapes * cells)
    rows, rank, chosen = (ops.reshape(tensor, flat) for tensor in (rows, rank, chosen))
    rank = ops.where(chosen, rank, 0.0)
    total = sum(predictions)
    batch_rows = rows + np.arange(batch, dtype=np.int32)[:, None] * total
    highest = ops.segment_max(
        ops.reshape(rank, (-1,)), ops.reshape(batch_rows, (-1,)), num_segments=batch * total
    )
    is_positive = ops.logical_and(chosen, ops.take(highest, batch_rows) == rank)
    objectness = ops.reshape(highest, (batch, total)) > 0
    return Assignment(rows, ops.cast(is_positive, "float32"), ops.cast(objectness, "float32"))


def shape_iou(sizes: KerasTensor, anchors: np.ndarray) -> KerasTensor:
    """IoU of boxes and anchors with a common corner, which compares their shapes only.

    Args:
        sizes: (..., 2) width and height.
        anchors: (A, 2) width and height.

    Returns:
        (..., A) in 0..1.
    """
    sizes = ops.expand_dims(sizes, -2)
    shared = ops.prod(ops.minimum(sizes, anchors), axis=-1)
    return shared / (ops.prod(sizes, axis=-1) + anchors.prod(axis=-1) - shared)
