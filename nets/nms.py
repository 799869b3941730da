"""Non-maximum suppression inside the graph."""

from collections.abc import Sequence

import tensorflow as tf


def suppress(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    confidence: float | tf.Tensor,
    iou: float | tf.Tensor,
    max_boxes: int,
    labels: Sequence[int] | None = None,
) -> dict[str, tf.Tensor]:
    """Drops boxes that overlap better ones of the same class.

    Args:
        boxes: (B, P, 4) xyxy pixels.
        scores: (B, P, C) in 0..1.
        confidence: Boxes with a lower score are dropped.
        iou: Of two boxes of one class with a higher IoU, the one with the lower score is dropped.
        max_boxes: Maximum number of boxes per image, M, also if all are of one class.
        labels: The classes to find; None for all. Boxes of other classes do not count as one of M.

    Returns:
        `boxes` (B, M, 4), `scores` (B, M) and `labels` (B, M) int32, best first, followed by
        padding; `counts` (B,) int32, the number of boxes that are not padding; `is_nan` (B,) bool,
        whether a box or a score is NaN, which would be dropped as if its score were low.
    """
    is_nan = tf.reduce_any(tf.math.is_nan(boxes), axis=(1, 2)) | tf.reduce_any(
        tf.math.is_nan(scores), axis=(1, 2)
    )
    if labels is not None:
        scores = tf.gather(scores, labels, axis=-1)
    # The operation is documented for yxyx, but IoU does not depend on the order of the axes.
    kept = tf.image.combined_non_max_suppression(
        tf.expand_dims(boxes, 2),
        scores,
        max_output_size_per_class=max_boxes,
        max_total_size=max_boxes,
        iou_threshold=iou,
        score_threshold=confidence,
        clip_boxes=False,
    )
    found = tf.cast(kept.nmsed_classes, tf.int32)
    return {
        "boxes": kept.nmsed_boxes,
        "scores": kept.nmsed_scores,
        "labels": found if labels is None else tf.gather(labels, found),
        "counts": kept.valid_detections,
        "is_nan": is_nan,
    }
