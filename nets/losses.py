"""Targets + predictions -> a dict of named loss terms."""

import math

import numpy as np
import tensorflow as tf
from keras import KerasTensor, ops

from nets.assigner import Assignment
from nets.decoder import Priors, decode_boxes
from nets.fusion import fused
from nets.versions import YoloVersion

REFERENCE_AREA = 416 * 416  # pixels, the input that objectness_weight is stated for
REFERENCE_CLASSES = 80  # classes, the detector that class_weight is stated for
EPSILON = 1e-7


def yolo_loss(
    logits: KerasTensor,
    gt_boxes: KerasTensor,
    gt_labels: KerasTensor,
    assignment: Assignment,
    priors: Priors,
    version: YoloVersion,
    input_size: tuple[int, int],
) -> dict[str, KerasTensor]:
    """Scores the predictions of a batch in three terms that add up to the loss.

    Sums over the replicas of a distribution strategy equal what one device computes on the whole
    batch.

    Args:
        logits: (B, P, 5 + C), from `nets.head`.
        gt_boxes: (B, N, 4) xyxy pixels.
        gt_labels: (B, N) int, -1 for padding.
        assignment: who answers for what, from `nets.assigner`.
        priors: of the P predictions.
        version: weights and ignore threshold.
        input_size: height and width in pixels.

    Returns:
        `box` (CIoU), `objectness` and `class` (binary cross-entropies), scalars, weighted.
    """
    batch, predictions, channels = logits.shape
    num_classes = channels - 5
    objects = gt_boxes.shape[1]
    rows_an_object = assignment.rows.shape[1] // objects

    # 1. The rows that answer for an object: (B, M, 5 + C), and how many there are.
    first = ops.expand_dims(ops.arange(batch, dtype="int32") * predictions, -1)
    answers = ops.take(ops.reshape(logits, (-1, channels)), assignment.rows + first, axis=0)
    positives = ops.maximum(_sum_over_replicas(ops.sum(assignment.positive)), 1.0)

    # 2. Where: CIoU with the object that each answers for.
    row_priors = [
        ops.take(table, assignment.rows, axis=0)
        for table in (priors.cells, priors.strides, priors.anchors, priors.scale_xy)
    ]
    targets = ops.repeat(gt_boxes, rows_an_object, axis=1)
    overlap = complete_iou(decode_boxes(answers, *row_priors), targets)
    box = ops.sum(assignment.positive * (1.0 - overlap)) / positives

    # 3. What: every class on its own.
    labels = ops.repeat(ops.one_hot(gt_labels, num_classes), rows_an_object, axis=1)
    class_error = ops.sum(_cross_entropy(labels, answers[..., 5:]), axis=-1)
    classes = ops.sum(assignment.positive * class_error) / positives / REFERENCE_CLASSES

    # 4. Whether: no row is a negative that overlaps an object well enough.
    boxes = decode_boxes(
        ops.stop_gradient(logits), priors.cells, priors.strides, priors.anchors, priors.scale_xy
    )
    ignored = overlap_an_object(boxes, gt_boxes, version.ignore_iou)
    counts = ops.where(ignored, assignment.objectness, 1.0)
    objectness_error = counts * _cross_entropy(assignment.objectness, logits[..., 4])

    # 5. Each level's mean over its rows, weighted by the balance of the levels.
    rows_a_level = np.bincount(priors.levels)
    weights = np.array(version.objectness_balance, np.float32) / rows_a_level
    row_weights = weights.astype(np.float32)[priors.levels]
    images = _sum_over_replicas(ops.cast(batch, "float32"))
    objectness = ops.sum(objectness_error * row_weights) / images
    objectness = objectness * (input_size[0] * input_size[1] / REFERENCE_AREA)

    # 6. The three terms.
    return {
        "box": version.box_weight * box,
        "objectness": version.objectness_weight * objectness,
        "class": version.class_weight * classes,
    }


@fused
def overlap_an_object(boxes: KerasTensor, gt_boxes: KerasTensor, threshold: float) -> KerasTensor:
    """Tells which boxes have an IoU above a threshold with any ground truth of their image.

    Fused because the pairs of a batch are millions: as single operations measured at a tenth of
    MobileNetV2's training step at 416 and 104 ground truths, and 170 MiB.

    Args:
        boxes: (B, P, 4) xyxy.
        gt_boxes: (B, N, 4) xyxy, without area where they are padding.
        threshold: IoU, 0..1.

    Returns:
        (B, P) bool.
    """
    x1, y1, x2, y2 = (boxes[:, :, None, side] for side in range(4))
    gt_x1, gt_y1, gt_x2, gt_y2 = (gt_boxes[:, None, :, side] for side in range(4))
    width = ops.maximum(ops.minimum(x2, gt_x2) - ops.maximum(x1, gt_x1), 0.0)
    height = ops.maximum(ops.minimum(y2, gt_y2) - ops.maximum(y1, gt_y1), 0.0)
    # shared / (area + gt_area - shared) > t, solved for what belongs to the pair alone.
    share = threshold / (1.0 + threshold)
    gt_area = (gt_x2 - gt_x1) * (gt_y2 - gt_y1)
    most = ops.max(width * height - share * gt_area, axis=-1)
    return most > (share * (x2 - x1) * (y2 - y1))[..., 0]


def complete_iou(boxes: KerasTensor, targets: KerasTensor) -> KerasTensor:
    """Complete IoU (Zheng et al. 2020, Distance-IoU Loss, equations 8 to 11).

    Unlike `keras.utils.bounding_boxes.compute_ciou` no gradient flows through the trade-off
    factor alpha, which the paper treats as a constant.

    Args:
        boxes: (..., 4) xyxy.
        targets: (..., 4) xyxy.

    Returns:
        (...) in -1.5..1, 1 for equal boxes.
    """
    size, target_size = boxes[..., 2:] - boxes[..., :2], targets[..., 2:] - targets[..., :2]
    low, high = (
        ops.maximum(boxes[..., :2], targets[..., :2]),
        ops.minimum(boxes[..., 2:], targets[..., 2:]),
    )
    shared = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
    union = ops.prod(size, axis=-1) + ops.prod(target_size, axis=-1) - shared
    iou = shared / (union + EPSILON)

    hull = ops.maximum(boxes[..., 2:], targets[..., 2:]) - ops.minimum(
        boxes[..., :2], targets[..., :2]
    )
    offset = 0.5 * (boxes[..., :2] + boxes[..., 2:] - targets[..., :2] - targets[..., 2:])
    distance = ops.sum(offset**2, axis=-1) / (ops.sum(hull**2, axis=-1) + EPSILON)

    aspect = ops.arctan2(size[..., 0], size[..., 1] + EPSILON)
    target_aspect = ops.arctan2(target_size[..., 0], target_size[..., 1] + EPSILON)
    unlike = (4 / math.pi**2) * (target_aspect - aspect) ** 2
    alpha = ops.stop_gradient(unlike / (1.0 - iou + unlike + EPSILON))
    return iou - distance - alpha * unlike


def _cross_entropy(targets: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Binary cross-entropy of each element, stable for any logit."""
    return ops.maximum(logits, 0.0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def _sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
