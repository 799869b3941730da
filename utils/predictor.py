"""From pictures of any size to detections in their own pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from nets.detector import Detector
from utils.detections import Detections
from utils.letterbox import Letterbox, letterbox

STRIDES = (8, 16, 32)


class Predictor:
    """Runs a detector over pictures: letterbox, network, suppression, and back.

    The graph is traced once, for one batch shape, and reads the detector's variables anew at
    each call: a predictor made before training follows the weights.

    Args:
        detector: the network.
        confidence: the lowest score that is kept, 0..1.
        iou: of two boxes of a class that overlap more than this, the better one stays, 0..1.
        max_boxes: the most detections an image.
        batch_size: how many images go through the network at once; the last batch is padded.
    """

    def __init__(
        self,
        detector: Detector,
        confidence: float = 0.5,
        iou: float = 0.3,
        max_boxes: int = 100,
        batch_size: int = 1,
    ):
        self.input_size = tuple(detector.input_size)
        self.batch_size = batch_size
        self._detect = tf.function(
            lambda images: detector.detect(images, confidence, iou, max_boxes),
            input_signature=[tf.TensorSpec((batch_size, *self.input_size, 3), tf.uint8)],
        )
        self._forward = tf.function(
            lambda images: detector(tf.cast(images, tf.float32), training=False),
            input_signature=[tf.TensorSpec((1, *self.input_size, 3), tf.uint8)],
        )

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Finds the objects in each of any number of RGB uint8 `(height, width, 3)` images."""
        found = []
        for start in range(0, len(images), self.batch_size):
            found += self._batch(images[start : start + self.batch_size])
        return found

    def _batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        canvases = np.zeros((self.batch_size, *self.input_size, 3), np.uint8)
        fits = []
        for canvas, image in zip(canvases, images, strict=False):
            canvas[:], fit = letterbox(image, self.input_size)
            fits.append(fit)
        raw = {key: tensor.numpy() for key, tensor in self._detect(canvases).items()}
        return [
            _in_original(fit, *(raw[key][i, :count] for key in ("boxes", "scores", "labels")))
            for i, (fit, count) in enumerate(zip(fits, raw["counts"], strict=False))
        ]

    def forward(self, image: np.ndarray) -> tuple[np.ndarray, Letterbox]:
        """The bare network on one image: raw logits `(P, 5 + classes)` and how it was fitted."""
        canvas, fit = letterbox(image, self.input_size)
        return self._forward(canvas[None]).numpy()[0], fit

    def heatmap(self, image: np.ndarray) -> np.ndarray:
        """Where the network sees something.

        Args:
            image: RGB uint8 `(height, width, 3)`.

        Returns:
            `(height, width)` float32, 0..1: objectness times the likeliest class, the greatest
            over anchors and pyramid levels.
        """
        logits, fit = self.forward(image)
        height, width = image.shape[:2]
        scores = _sigmoid(logits[:, 4]) * _sigmoid(logits[:, 5:].max(axis=-1))
        heat = np.zeros((height, width), np.float32)
        start = 0
        for stride in STRIDES:
            rows, columns = (side // stride for side in self.input_size)
            level = scores[start : start + rows * columns * 3].reshape(rows, columns, 3).max(-1)
            start += rows * columns * 3
            # Cell centres to pixel centres of the original, through the letterbox, in one step.
            shift_x = (fit.pad_x + fit.scale_x / 2) / stride - 0.5
            shift_y = (fit.pad_y + fit.scale_y / 2) / stride - 0.5
            to_level = np.array(
                [[fit.scale_x / stride, 0, shift_x], [0, fit.scale_y / stride, shift_y]]
            )
            level = cv2.warpAffine(
                level,
                to_level,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            heat = np.maximum(heat, level)
        return heat


def _in_original(
    fit: Letterbox, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
) -> Detections:
    boxes = fit.inverse(boxes).astype(np.float32)
    # What lay in the grey padding only has no area left after clipping.
    real = (boxes[:, 2:] > boxes[:, :2]).all(axis=-1)
    return Detections(boxes[real], scores[real], labels[real].astype(np.int32))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))
