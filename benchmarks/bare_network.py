"""The network alone, which the benchmarks of prediction compare with."""

import tensorflow as tf

from nets.detector import Detector


def bare_network(detector: Detector, batch: int, constants: bool) -> tf.types.experimental.Callable:
    """A graph from images to logits.

    Args:
        detector: the network.
        batch: images at once.
        constants: whether its weights are constants, as predict.py and get_map.py have them.

    Returns:
        A function of uint8 images (batch, H, W, 3).
    """

    def network(images: tf.Tensor) -> tf.Tensor:
        return detector(tf.cast(images, tf.float32), training=False)

    def network_of_constants(images: tf.Tensor) -> tf.Tensor:
        with detector.as_constants():
            return network(images)

    spec = [tf.TensorSpec((batch, *detector.input_size, 3), tf.uint8)]
    chosen = network_of_constants if constants else network
    return tf.function(chosen, input_signature=spec, autograph=False)
