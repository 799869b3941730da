"""The network of a run in Keras, behind the interface of the runtimes of exported models."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from nets.detector import Detector


class KerasSession:
    """A `Session` on a detector with fixed weights, as predict.py runs it.

    Args:
        detector: The detector.
        batch_size: Images per call.
    """

    def __init__(self, detector: Detector, batch_size: int = 1):
        height, width = detector.input_size
        self.images = np.zeros((batch_size, height, width, 3), np.float32)
        self.description = f"Keras {keras.__version__} on TensorFlow {tf.__version__}, float32"
        scale = np.float32([1 / width, 1 / height, 1 / width, 1 / height])

        def compute(images: tf.Tensor) -> dict[str, tf.Tensor]:
            with detector.as_constants():
                boxes, scores = detector.predict_boxes(images)
            return {"boxes": boxes * scale, "scores": scores}

        signature = [tf.TensorSpec(self.images.shape, tf.float32)]
        self._compute = tf.function(compute, input_signature=signature, autograph=False)

    def run(self) -> Mapping[str, np.ndarray]:
        """Runs the network on `images`, see `Session`."""
        return {name: tensor.numpy() for name, tensor in self._compute(self.images).items()}
