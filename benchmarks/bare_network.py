"""Runs the network alone, as a baseline for the benchmarks of prediction."""

import tensorflow as tf

from nets.detector import Detector


def bare_network(detector: Detector, batch: int, constants: bool) -> tf.types.experimental.Callable:
    """Builds a graph from images to logits.

    Args:
        detector: The detector.
        batch: Batch size.
        constants: Whether the weights are constants, as in predict.py and get_map.py.

    Returns:
        A function that takes uint8 images (batch, H, W, 3).
    """

    def network(images: tf.Tensor) -> tf.Tensor:
        return detector(tf.cast(images, tf.float32), training=False)

    def network_with_constants(images: tf.Tensor) -> tf.Tensor:
        with detector.as_constants():
            return network(images)

    spec = [tf.TensorSpec((batch, *detector.input_size, 3), tf.uint8)]
    chosen = network_with_constants if constants else network
    return tf.function(chosen, input_signature=spec, autograph=False)
