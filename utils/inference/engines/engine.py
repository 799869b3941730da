"""What runs a detector for a `Predictor`."""

from typing import Protocol

import numpy as np

from utils.inference.detections import Detections


class Engine(Protocol):
    """Runs the network and non-maximum suppression on a batch of letterboxed images.

    Attributes:
        input_size: Height and width of the input in pixels.
        batch_size: Images per call of the network.
        strides: Stride of each level of the pyramid in pixels.
        canvases: (batch_size, H, W, 3) RGB in 0..255, uint8 or float32. The letterboxed images are
            written into this array before each call.
    """

    input_size: tuple[int, int]
    batch_size: int
    strides: tuple[int, ...]
    canvases: np.ndarray

    def detect(self, count: int) -> list[Detections]:
        """Finds the objects in the first `count` canvases.

        Returns:
            The detections of each canvas, in pixels of the canvas.

        Raises:
            NanError: The network computes NaN for a canvas.
        """
        ...

    def best_scores(self, canvas: np.ndarray) -> np.ndarray:
        """Runs only the network, on one image.

        Args:
            canvas: (H, W, 3) RGB uint8, letterboxed.

        Returns:
            (P,) highest score of each prediction among the classes to find, in the order of
            `nets.head`.

        Raises:
            UserError: The model does not give the scores of all predictions.
        """
        ...

    def forward(self, canvas: np.ndarray) -> None:
        """Runs only the network, on one image, and drops the result: to measure its time.

        Args:
            canvas: (H, W, 3) RGB uint8, letterboxed.
        """
        ...
