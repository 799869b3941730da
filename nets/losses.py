"""The loss of a YOLO detector, as a dict of named terms."""

import math

import numpy as np
import tensorflow as tf
from keras import KerasTensor, ops

from nets.assigner import Assignment, GroundTruth
from nets.decoder import Priors, decode_boxes
from nets.fusion import fused
from nets.versions import YoloVersion

REFERENCE_AREA = 416 * 416  # pixels of the input for which objectness_weight is given
REFERENCE_CLASSES = 80  # classes of the detector for which class_weight is given
OBJECTS_AT_ONCE = 64  # ground truths per image whose overlaps are held in memory at a time
EPSILON = 1e-7


def yolo_loss(
    logits: KerasTensor,
    truth: GroundTruth,
    assignment: Assignment,
    priors: Priors,
    version: YoloVersion,
    input_size: tuple[int, int],
) -> dict[str, KerasTensor]:
    """Computes the three terms whose sum is the loss of a batch.

    Summed over the replicas of a distribution strategy, each term equals what one device computes
    on the whole batch.

    Args:
        logits: (B, P, 5 + C), from `nets.head`.
        truth: Ground truth of the batch.
        assignment: Which predictions are assigned to which ground truths, from `nets.assigner`.
        priors: Priors of the P predictions.
        version: Loss weights, ignore threshold, and whether the objectness is an IoU.
        input_size: Height and width of the input in pixels.

    Returns:
        `box` (CIoU), `objectness` and `class` (binary cross-entropies), weighted scalars.
    """
    batch, predictions, channels = logits.shape
    num_classes = channels - 5
    objects = truth.boxes.shape[1]
    candidates_per_object = assignment.rows.shape[1] // objects

    # 1. The logits of all candidates, (B, M, 5 + C), and how many of them are positive.
    first = ops.expand_dims(ops.arange(batch, dtype="int32") * predictions, -1)
    places = assignment.rows + first
    candidates = ops.take(ops.reshape(logits, (-1, channels)), places, axis=0)
    positives = ops.maximum(_sum_over_replicas(ops.sum(assignment.is_positive)), 1.0)

    # 2. Box: CIoU with the ground truth that each candidate belongs to.
    targets = ops.repeat(truth.boxes, candidates_per_object, axis=1)
    found = decode_boxes(candidates, priors.at(assignment.rows))
    box = ops.sum(assignment.is_positive * (1.0 - complete_iou(found, targets))) / positives

    # 3. Class: one binary cross-entropy per class.
    labels = ops.repeat(ops.one_hot(truth.labels, num_classes), candidates_per_object, axis=1)
    class_error = ops.sum(_cross_entropy(labels, candidates[..., 5:]), axis=-1)
    classes = ops.sum(assignment.is_positive * class_error) / positives / REFERENCE_CLASSES

    # 4. Objectness: unassigned predictions that overlap a ground truth well are not counted.
    goal = assignment.objectness
    if version.iou_objectness:  # of the one ground truth that a prediction is assigned to
        iou = assignment.is_positive * ops.stop_gradient(pairwise_iou(found, targets))
        flat = ops.reshape(iou, (-1,)), ops.reshape(places, (-1,))
        goal = ops.reshape(ops.segment_sum(*flat, batch * predictions), (batch, predictions))
    boxes = decode_boxes(ops.stop_gradient(logits), priors)
    ignored = overlaps_any(boxes, truth.boxes, version.ignore_iou)
    counted = ops.where(ignored, assignment.objectness, 1.0)
    objectness_error = counted * _cross_entropy(goal, logits[..., 4])

    # 5. The mean over each level's predictions, weighted by the balance of the levels.
    predictions_per_level = np.bincount(priors.levels)
    weights = np.array(version.objectness_balance, np.float32) / predictions_per_level
    prediction_weights = weights.astype(np.float32)[priors.levels]
    images = _sum_over_replicas(ops.cast(batch, "float32"))
    objectness = ops.sum(objectness_error * prediction_weights) / images
    objectness = objectness * (input_size[0] * input_size[1] / REFERENCE_AREA)

    # 6. The three terms.
    return {
        "box": version.box_weight * box,
        "objectness": version.objectness_weight * objectness,
        "class": version.class_weight * classes,
    }


def overlaps_any(boxes: KerasTensor, gt_boxes: KerasTensor, threshold: float) -> KerasTensor:
    """Whether each box has an IoU above a threshold with any ground truth of its image.

    A batch of 32 images of 416x416 with 800 ground truths has 270 million pairs. A loop over the
    ground truths bounds the memory, which matters on GPUs, where the operations are not fused: at
    batch 8, the loss then takes 270 MiB instead of 1040.

    Args:
        boxes: (B, P, 4) xyxy.
        gt_boxes: (B, N, 4) xyxy; padding has zero area.
        threshold: IoU, 0..1.

    Returns:
        (B, P) bool.
    """
    objects = gt_boxes.shape[1]
    if objects <= OBJECTS_AT_ONCE:
        return _overlaps_any(boxes, gt_boxes, threshold)
    padding = -objects % OBJECTS_AT_ONCE
    gt_boxes = ops.pad(gt_boxes, [[0, 0], [0, padding], [0, 0]])

    def extend(start: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        some = tf.slice(gt_boxes, [0, start, 0], [gt_boxes.shape[0], OBJECTS_AT_ONCE, 4])
        more = _overlaps_any(boxes, some, threshold)
        return start + OBJECTS_AT_ONCE, tf.logical_or(found, more)

    _, found = tf.while_loop(
        lambda start, _: start < objects,
        extend,
        (tf.constant(0), tf.zeros(boxes.shape[:2], tf.bool)),
        parallel_iterations=1,
    )
    return found


@fused
def _overlaps_any(boxes: KerasTensor, gt_boxes: KerasTensor, threshold: float) -> KerasTensor:
    """Computes `overlaps_any` for all pairs at once.

    Fused because a batch has millions of pairs. As single operations this took a tenth of
    MobileNetV2's training step at 416 with 104 ground truths, and 170 MiB.
    """
    x1, y1, x2, y2 = (boxes[:, :, None, side] for side in range(4))
    gt_x1, gt_y1, gt_x2, gt_y2 = (gt_boxes[:, None, :, side] for side in range(4))
    width = ops.maximum(ops.minimum(x2, gt_x2) - ops.maximum(x1, gt_x1), 0.0)
    height = ops.maximum(ops.minimum(y2, gt_y2) - ops.maximum(y1, gt_y1), 0.0)
    # shared / (area + gt_area - shared) > t, with all that depends on both boxes on the left.
    share = threshold / (1.0 + threshold)
    gt_area = (gt_x2 - gt_x1) * (gt_y2 - gt_y1)
    largest = ops.max(width * height - share * gt_area, axis=-1)
    return largest > (share * (x2 - x1) * (y2 - y1))[..., 0]


def pairwise_iou(boxes: KerasTensor, targets: KerasTensor) -> KerasTensor:
    """IoU of each box with its own target.

    Args:
        boxes: (..., 4) xyxy.
        targets: (..., 4) xyxy.

    Returns:
        (...) in 0..1.
    """
    size, target_size = boxes[..., 2:] - boxes[..., :2], targets[..., 2:] - targets[..., :2]
    low, high = (
        ops.maximum(boxes[..., :2], targets[..., :2]),
        ops.minimum(boxes[..., 2:], targets[..., 2:]),
    )
    shared = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
    union = ops.prod(size, axis=-1) + ops.prod(target_size, axis=-1) - shared
    return shared / (union + EPSILON)


def complete_iou(boxes: KerasTensor, targets: KerasTensor) -> KerasTensor:
    """Complete IoU (Zheng et al. 2020, Distance-IoU Loss, equations 8 to 11).

    Unlike in `keras.utils.bounding_boxes.compute_ciou`, no gradient flows through the trade-off
    factor alpha, which the paper treats as a constant.

    Args:
        boxes: (..., 4) xyxy.
        targets: (..., 4) xyxy.

    Returns:
        (...) in -1.5..1, 1 for equal boxes.
    """
    size, target_size = boxes[..., 2:] - boxes[..., :2], targets[..., 2:] - targets[..., :2]
    iou = pairwise_iou(boxes, targets)
    hull = ops.maximum(boxes[..., 2:], targets[..., 2:]) - ops.minimum(
        boxes[..., :2], targets[..., :2]
    )
    offset = 0.5 * (boxes[..., :2] + boxes[..., 2:] - targets[..., :2] - targets[..., 2:])
    distance = ops.sum(offset**2, axis=-1) / (ops.sum(hull**2, axis=-1) + EPSILON)

    aspect = ops.arctan2(size[..., 0], size[..., 1] + EPSILON)
    target_aspect = ops.arctan2(target_size[..., 0], target_size[..., 1] + EPSILON)
    difference = (4 / math.pi**2) * (target_aspect - aspect) ** 2
    alpha = ops.stop_gradient(difference / (1.0 - iou + difference + EPSILON))
    return iou - distance - alpha * difference


def _cross_entropy(targets: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Binary cross-entropy of each element, stable for any logit."""
    return ops.maximum(logits, 0.0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def _sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
