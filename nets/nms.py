"""Non-maximum suppression inside the graph."""

import tensorflow as tf


def suppress(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    confidence: float | tf.Tensor,
    iou: float | tf.Tensor,
    max_boxes: int,
) -> dict[str, tf.Tensor]:
    """Keeps the best of the boxes that overlap, class by class.

    Args:
        boxes: (B, P, 4) xyxy pixels.
        scores: (B, P, C) in 0..1.
        confidence: boxes with a lower score are dropped.
        iou: of two boxes of a class that overlap by more, the better one stays.
        max_boxes: M, the most that is kept of an image.

    Returns:
        `boxes` (B, M, 4), `scores` (B, M), `labels` (B, M) int32, best first and padded with
        zeros, and `counts` (B,) int32, how many of the M are real.
    """
    # The operation documents yxyx; overlap does not depend on which axis comes first.
    kept = tf.image.combined_non_max_suppression(
        tf.expand_dims(boxes, 2),
        scores,
        max_output_size_per_class=max_boxes,
        max_total_size=max_boxes,
        iou_threshold=iou,
        score_threshold=confidence,
        clip_boxes=False,
    )
    return {
        "boxes": kept.nmsed_boxes,
        "scores": kept.nmsed_scores,
        "labels": tf.cast(kept.nmsed_classes, tf.int32),
        "counts": kept.valid_detections,
    }
