"""From pictures of any size to detections in their own pixels."""

import contextlib
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import tensorflow as tf

from nets.detector import Detector
from nets.versions import ANCHORS_PER_LEVEL, strides_of
from utils.data.letterbox import Letterbox, letterbox
from utils.inference.detections import Detections


class Predictor:
    """Runs a detector over pictures: letterbox, network, suppression, and back.

    The graph is traced once, for one batch shape. Unless frozen it reads the detector's variables
    anew at each call, so that a predictor made before training follows the weights.

    Args:
        detector: the network.
        confidence: the lowest score that is kept, 0..1.
        iou: of two boxes of a class that overlap more than this, the better one stays, 0..1.
        max_boxes: the most detections an image.
        batch_size: how many images go through the network at once; the last batch is padded.
        stretch: whether images fill the input instead of keeping their aspect.
        frozen: whether the weights are those of the first call for good, which is faster.

    Attributes:
        input_size: height and width of the network's input.
        best_scores: the network alone on one canvas `(1, height, width, 3)` uint8: the best
            class score `(1, P)` of every prediction, in the order of `Detector`'s logits.
    """

    def __init__(
        self,
        detector: Detector,
        confidence: float = 0.5,
        iou: float = 0.3,
        max_boxes: int = 100,
        batch_size: int = 1,
        stretch: bool = False,
        frozen: bool = False,
    ):
        self.input_size = tuple(detector.input_size)
        self.batch_size = batch_size
        self._stretch = stretch
        self._strides = strides_of(detector.anchors)
        weights = detector.as_constants if frozen else contextlib.nullcontext

        def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
            with weights():
                return detector.detect(images, confidence, iou, max_boxes)

        def best_scores(images: tf.Tensor) -> tf.Tensor:
            with weights():
                return tf.reduce_max(detector.predict_boxes(images)[1], axis=-1)

        self._detect = self._graph(detect, batch_size)
        self.best_scores = self._graph(best_scores, 1)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Finds the objects in each of any number of RGB uint8 `(height, width, 3)` images."""
        found = []
        for start in range(0, len(images), self.batch_size):
            found += self._batch(images[start : start + self.batch_size])
        return found

    def _graph(self, compute: Callable, batch_size: int) -> Callable:
        canvases = tf.TensorSpec((batch_size, *self.input_size, 3), tf.uint8)
        return tf.function(compute, input_signature=[canvases], autograph=False)

    def _batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        canvases = np.zeros((self.batch_size, *self.input_size, 3), np.uint8)
        fits = []
        for canvas, image in zip(canvases, images, strict=False):
            canvas[:], fit = letterbox(image, self.input_size, self._stretch)
            fits.append(fit)
        raw = {key: tensor.numpy() for key, tensor in self._detect(canvases).items()}
        return [
            _in_original(fit, *(raw[key][i, :count] for key in ("boxes", "scores", "labels")))
            for i, (fit, count) in enumerate(zip(fits, raw["counts"], strict=False))
        ]

    def heatmap(self, image: np.ndarray) -> np.ndarray:
        """Shows where the network sees something.

        Args:
            image: RGB uint8 `(height, width, 3)`.

        Returns:
            `(height, width)` float32, 0..1: objectness times the likeliest class, the greatest
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
            # Cell centres to pixel centres of the original, through the letterbox, in one step.
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


def _in_original(
    fit: Letterbox, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
) -> Detections:
    boxes = fit.inverse(boxes)
    # What lay in the grey padding only has no area left after clipping.
    real = (boxes[:, 2:] > boxes[:, :2]).all(axis=-1)
    return Detections(boxes[real], scores[real], labels[real])
