"""Detects objects in images of any size; boxes are in pixels of these images."""

import contextlib
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import tensorflow as tf

from nets.detector import Detector
from nets.versions import ANCHORS_PER_LEVEL, strides_of
from utils.data.letterbox import Letterbox, letterbox
from utils.inference.detections import Detections, NanError
from utils.inference.thresholds import DEFAULT_THRESHOLDS, Thresholds


class Predictor:
    """Runs a detector on images: letterbox, network, non-maximum suppression, and boxes in
    pixels of the image.

    The graph is traced once, for one batch shape. Unless `frozen` is set, it reads the variables of
    the detector at every call, so a predictor that is built before training uses the current
    weights.

    Args:
        detector: The detector.
        thresholds: Thresholds of non-maximum suppression.
        batch_size: Images per call of the network; the last batch is padded.
        stretch: Whether images are stretched to the input instead of keeping their aspect ratio.
        frozen: Whether the weights become constants at the first call, which is faster.
        labels: The classes to find; None for all.

    Attributes:
        input_size: Height and width of the input of the network.
        batch_size: Images per call of the network.
        best_scores: A function that runs only the network, on a uint8 batch (1, height, width, 3)
            of one letterboxed image. It returns the highest score of each prediction among the
            classes to find, (1, P), in the order of the logits of `Detector`.
    """

    def __init__(
        self,
        detector: Detector,
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
        batch_size: int = 1,
        stretch: bool = False,
        frozen: bool = False,
        labels: Sequence[int] | None = None,
    ):
        self.input_size = tuple(detector.input_size)
        self.batch_size = batch_size
        self._stretch = stretch
        self._max_boxes = thresholds.max_boxes
        self._strides = strides_of(detector.anchors)
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
        self.best_scores = self._graph(best_scores, 1)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detects the objects in any number of images.

        Args:
            images: RGB uint8 (height, width, 3) each.

        Returns:
            The detections of each image, in pixels of this image.

        Raises:
            NanError: The network computes NaN for an image.
        """
        found = []
        for start in range(0, len(images), self.batch_size):
            found += self._detect_batch(images[start : start + self.batch_size], start)
        return found

    def heatmap(self, image: np.ndarray) -> np.ndarray:
        """Computes how strongly the network responds at each pixel.

        Args:
            image: RGB uint8 (height, width, 3).

        Returns:
            (height, width) float32, 0..1: objectness times the highest class probability, maximum
            over anchors and pyramid levels.
        """
        canvas, fit = letterbox(image, self.input_size, self._stretch)
        scores = self.best_scores(canvas[None]).numpy()[0]
        height, width = image.shape[:2]
        heat = np.zeros((height, width), np.float32)
        start = 0
        for stride in self._strides:
            grid = (self.input_size[0] // stride, self.input_size[1] // stride, ANCHORS_PER_LEVEL)
            end = start + math.prod(grid)
            level = scores[start:end].reshape(grid).max(axis=-1)
            start = end
            # One warp maps pixel centres of the original to cell centres, through the letterbox.
            shift_x = (fit.pad_x + fit.scale_x / 2) / stride - 0.5
            shift_y = (fit.pad_y + fit.scale_y / 2) / stride - 0.5
            to_level = np.array(
                [[fit.scale_x / stride, 0, shift_x], [0, fit.scale_y / stride, shift_y]]
            )
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            level = cv2.warpAffine(
                level, to_level, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
            )
            heat = np.maximum(heat, level)
        return heat

    def _graph(self, compute: Callable, batch_size: int) -> Callable:
        canvases = tf.TensorSpec((batch_size, *self.input_size, 3), tf.uint8)
        return tf.function(compute, input_signature=[canvases], autograph=False)

    def _run(self, canvases: np.ndarray, fits: Sequence[Letterbox]) -> dict[str, tf.Tensor]:
        """Runs the network on a batch; validation also computes the loss in the same pass.

        Args:
            canvases: uint8 (batch_size, H, W, 3).
            fits: Letterboxes of the images; there are fewer than `batch_size` in the last batch.
        """
        return self._detect(canvases)

    def _detect_batch(self, images: Sequence[np.ndarray], start: int) -> list[Detections]:
        canvases = np.zeros((self.batch_size, *self.input_size, 3), np.uint8)
        fits = []
        for canvas, image in zip(canvases, images, strict=False):
            canvas[:], fit = letterbox(image, self.input_size, self._stretch)
            fits.append(fit)
        raw = {key: tensor.numpy() for key, tensor in self._run(canvases, fits).items()}
        if (invalid := raw["is_nan"][: len(images)]).any():
            raise NanError(start + int(invalid.argmax()))
        return [
            _in_original(
                fit,
                *(raw[key][i, :count] for key in ("boxes", "scores", "labels")),
                at_limit=bool(count == self._max_boxes),
            )
            for i, (fit, count) in enumerate(zip(fits, raw["counts"], strict=False))
        ]


def _in_original(
    fit: Letterbox, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, at_limit: bool
) -> Detections:
    boxes = fit.inverse(boxes)
    # After clipping, boxes that lay entirely in the grey padding have no area.
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=-1)
    return Detections(boxes[kept], scores[kept], labels[kept], at_limit)
