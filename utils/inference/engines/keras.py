"""Runs a detector in Keras, with non-maximum suppression inside the graph."""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from nets.detector import Detector
from nets.versions import strides_of
from utils.inference.detections import Detections, NanError
from utils.inference.thresholds import DEFAULT_THRESHOLDS, Thresholds


class KerasEngine:
    """An `Engine` on a detector.

    The graph is traced once, for one batch shape. Unless `frozen` is set, it reads the variables of
    the detector at every call, so an engine that is built before training uses the current weights.

    Args:
        detector: The detector.
        thresholds: Thresholds of non-maximum suppression.
        batch_size: Images per call of the network.
        frozen: Whether the weights become constants at the first call, which is faster.
        labels: The classes to find; None for all.
    """

    def __init__(
        self,
        detector: Detector,
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
        batch_size: int = 1,
        frozen: bool = False,
        labels: Sequence[int] | None = None,
    ):
        self.input_size = tuple(detector.input_size)
        self.batch_size = batch_size
        self.strides = strides_of(detector.anchors)
        self.canvases = np.zeros((batch_size, *self.input_size, 3), np.uint8)
        self._max_boxes = thresholds.max_boxes
        weights = detector.as_constants if frozen else contextlib.nullcontext
        chosen = {} if labels is None else {"labels": labels}

        def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
            with weights():
                return detector.detect(
                    images, thresholds.confidence, thresholds.iou, thresholds.max_boxes, **chosen
                )

        def best_scores(images: tf.Tensor) -> tf.Tensor:
            with weights():
                scores = detector.predict_boxes(images)[1]
                scores = scores if labels is None else tf.gather(scores, labels, axis=-1)
                return tf.reduce_max(scores, axis=-1)

        self._detect = self._graph(detect, batch_size)
        self._best_scores = self._graph(best_scores, 1)

    def detect(self, count: int) -> list[Detections]:
        """Finds the objects in the first `count` canvases, see `Engine`."""
        return to_detections(self._detect(self.canvases), count, self._max_boxes)

    def best_scores(self, canvas: np.ndarray) -> np.ndarray:
        """Runs only the network, on one image, see `Engine`."""
        return self._best_scores(canvas[None])[0].numpy()

    def forward(self, canvas: np.ndarray) -> None:
        """Runs only the network, on one image, see `Engine`."""
        self.best_scores(canvas)

    def _graph(self, compute: Callable, batch_size: int) -> Callable:
        canvases = tf.TensorSpec((batch_size, *self.input_size, 3), tf.uint8)
        return tf.function(compute, input_signature=[canvases], autograph=False)


def to_detections(found: Mapping[str, tf.Tensor], count: int, max_boxes: int) -> list[Detections]:
    """Converts the result of `nets.nms.suppress`.

    Args:
        found: The result for a batch.
        count: Number of images; the others only fill up the batch.
        max_boxes: Maximum number of boxes per image.

    Raises:
        NanError: A box or a score of an image is NaN.
    """
    raw = {key: tensor.numpy() for key, tensor in found.items()}
    if (invalid := raw["is_nan"][:count]).any():
        raise NanError(int(invalid.argmax()))
    return [
        Detections(
            *(raw[key][i, :number] for key in ("boxes", "scores", "labels")),
            at_limit=bool(number == max_boxes),
        )
        for i, number in enumerate(raw["counts"][:count])
    ]
