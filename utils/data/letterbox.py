"""The one way an image is fitted into the network's input when nothing is random."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

GREY = 128  # of the padding, as in the predecessors


@dataclass(frozen=True)
class Letterbox:
    """Where an image lies in the network's input: scaled to fit, centred, grey around it.

    Boxes are continuous xyxy: pixel i covers [i, i + 1).

    Attributes:
        scale_x: Input pixels a pixel of the original, horizontally.
        scale_y: The same vertically; unless stretched it differs by rounding to whole pixels only.
        pad_x: Grey columns left of the image.
        pad_y: Grey rows above it.
        input: (h, w) of the network's input.
        original: (h, w) of the image.
    """

    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int
    input: tuple[int, int]
    original: tuple[int, int]

    @classmethod
    def fit(
        cls, original: tuple[int, int], size: tuple[int, int], stretch: bool = False
    ) -> Letterbox:
        """The letterbox of an image of `original` (h, w) in an input of `size` (h, w).

        With `stretch` it fills the input, whatever becomes of its aspect.
        """
        scale = min(size[0] / original[0], size[1] / original[1])
        height, width = size if stretch else (max(1, round(side * scale)) for side in original)
        return cls(
            scale_x=width / original[1],
            scale_y=height / original[0],
            pad_x=(size[1] - width) // 2,
            pad_y=(size[0] - height) // 2,
            input=tuple(size),
            original=tuple(original),
        )

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Place an image (h, w, 3), which may have been decoded at a reduced size.

        Returns:
            uint8 (H, W, 3).
        """
        height = round(self.original[0] * self.scale_y)
        width = round(self.original[1] * self.scale_x)
        shrinks = height < image.shape[0] or width < image.shape[1]
        canvas = np.full((*self.input, 3), GREY, np.uint8)
        canvas[self.pad_y : self.pad_y + height, self.pad_x : self.pad_x + width] = cv2.resize(
            image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        )
        return canvas

    def forward(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (..., 4) in pixels of the original to boxes in pixels of the input."""
        return (boxes * self._scale() + self._pad()).astype(np.float32)

    def inverse(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (..., 4) in pixels of the input to the original's, clipped to its borders."""
        height, width = self.original
        boxes = (boxes - self._pad()) / self._scale()
        return np.clip(boxes, 0, (width, height, width, height)).astype(np.float32)

    def _scale(self) -> np.ndarray:
        return np.array([self.scale_x, self.scale_y] * 2)

    def _pad(self) -> np.ndarray:
        return np.array([self.pad_x, self.pad_y] * 2)


def letterbox(
    image: np.ndarray, size: tuple[int, int], stretch: bool = False
) -> tuple[np.ndarray, Letterbox]:
    """Fit an image (h, w, 3) into `size` (H, W): uint8 (H, W, 3), and how it was done."""
    box = Letterbox.fit(image.shape[:2], size, stretch)
    return box.apply(image), box
