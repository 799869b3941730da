"""The TensorFlow graph of a network, from which SavedModel, LiteRT and OpenVINO are written."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from nets.nms import suppress
from utils.inference.metadata import Metadata


def traceable(network: keras.Model, metadata: Metadata, nms: bool) -> Callable:
    """Returns a `tf.function` that computes an exported model, with its weights as constants.

    Args:
        network: The result of `inference_network`.
        metadata: The metadata to write; it states the batch and the thresholds.
        nms: Whether non-maximum suppression is part of the function.

    Returns:
        A function from `images` to the outputs by name. With `nms`, `boxes` (B, M, 4) and `scores`
        (B, M) are best first and padded with zeros, `labels` (B, M) and `counts` (B,) are int32.
        The constants have the paths of the variables as names.
    """
    height, width = metadata.input_size
    images = tf.TensorSpec((metadata.batch, height, width, 3), tf.float32, name="images")
    values = [(variable, variable.numpy()) for variable in network.variables]

    def compute(images: tf.Tensor) -> dict[str, tf.Tensor]:
        constants = [(variable, _constant(variable, value)) for variable, value in values]
        with keras.StatelessScope(state_mapping=constants):
            outputs = network(images, training=False)
        if not nms:
            return outputs
        # The thresholds of the run apply to boxes in pixels.
        sides = tf.constant([width, height, width, height], tf.float32)
        thresholds = metadata.thresholds
        kept = suppress(
            outputs["boxes"] * sides,
            outputs["scores"],
            thresholds.confidence,
            thresholds.iou,
            thresholds.max_boxes,
        )
        return {
            "boxes": kept["boxes"] / sides,
            **{name: kept[name] for name in ("scores", "labels", "counts")},
        }

    return tf.function(compute, input_signature=[images], autograph=False)


def _constant(variable: keras.Variable, value: np.ndarray) -> tf.Tensor:
    return tf.constant(value, name=variable.path)
