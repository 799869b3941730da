"""Detects objects in images of any size; boxes are in pixels of these images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from nets.versions import ANCHORS_PER_LEVEL
from utils.data.letterbox import Letterbox, letterbox
from utils.inference.detections import Detections, NanError
from utils.inference.engines.engine import Engine


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image in the size in which the network receives it.

    Attributes:
        fit: Its letterbox.
        pixels: RGB uint8 (h, w, 3), without the padding.
    """

    fit: Letterbox
    pixels: np.ndarray


class Predictor:
    """Runs an engine on images: letterbox, network, non-maximum suppression, and boxes in pixels
    of the image.

    Args:
        engine: Runs the network.
        stretch: Whether images are stretched to the input instead of keeping their aspect ratio.

    Attributes:
        engine: Runs the network.
        input_size: Height and width of the input of the network.
        batch_size: Images per call of the network; the last batch is filled up.
    """

    def __init__(self, engine: Engine, stretch: bool = False):
        self.engine = engine
        self.input_size = engine.input_size
        self.batch_size = engine.batch_size
        self._stretch = stretch

    def prepare(self, image: np.ndarray) -> Prepared:
        """Resizes an image for a later call.

        This takes as long as decoding a JPEG, so the threads that decode also do this.

        Args:
            image: RGB uint8 (height, width, 3).
        """
        fit = Letterbox.fit(image.shape[:2], self.input_size, self._stretch)
        return Prepared(fit, fit.resize(image))

    def __call__(self, images: Sequence[np.ndarray | Prepared]) -> list[Detections]:
        """Detects the objects in any number of images.

        Args:
            images: RGB uint8 (height, width, 3) each, or images of `prepare`.

        Returns:
            The detections of each image, in pixels of this image.

        Raises:
            NanError: The network computes NaN for an image.
        """
        found = []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            fits = [
                self._place(image, canvas)
                for image, canvas in zip(batch, self.engine.canvases, strict=False)
            ]
            try:
                placed = self._run(fits)
            except NanError as error:
                raise NanError(start + error.index) from error
            found += [in_original(fit, each) for fit, each in zip(fits, placed, strict=True)]
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
        scores = self.engine.best_scores(canvas)
        height, width = image.shape[:2]
        heat = np.zeros((height, width), np.float32)
        start = 0
        for stride in self.engine.strides:
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

    def _place(self, image: np.ndarray | Prepared, canvas: np.ndarray) -> Letterbox:
        prepared = image if isinstance(image, Prepared) else self.prepare(image)
        prepared.fit.place(prepared.pixels, canvas)
        return prepared.fit

    def _run(self, fits: Sequence[Letterbox]) -> list[Detections]:
        """Runs the engine on its canvases; validation also computes the loss in the same pass.

        Args:
            fits: Letterboxes of the images; there are fewer than `batch_size` in the last batch.
        """
        return self.engine.detect(len(fits))


def in_original(fit: Letterbox, found: Detections) -> Detections:
    """Maps detections from pixels of the input to the original image, and clips them to it."""
    boxes = fit.inverse(found.boxes)
    # After clipping, boxes that lay entirely in the grey padding have no area.
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=-1)
    return Detections(boxes[kept], found.scores[kept], found.labels[kept], found.at_limit)
