"""Letterboxing: fits images into the network's input, and maps boxes in both directions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

GREY = 128  # value of the padding, as in the predecessors


@dataclass(frozen=True)
class Letterbox:
    """How an image is fitted into the network's input: scaled, centred and padded with grey.

    Boxes are continuous xyxy pixels: pixel i covers [i, i + 1).

    Attributes:
        scale_x: Input pixels per pixel of the original, horizontally.
        scale_y: Input pixels per pixel of the original, vertically. Unless stretched, it differs
            from `scale_x` only by the rounding of sides to integers.
        pad_x: Number of padding columns left of the image.
        pad_y: Number of padding rows above the image.
        input: Height and width of the network's input.
        original: Height and width of the image.
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
        """Computes the letterbox of an image.

        Args:
            original: Height and width of the image.
            size: Height and width of the network's input.
            stretch: Whether the image fills the input and loses its aspect ratio.
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

    def apply(self, image: np.ndarray, canvas: np.ndarray | None = None) -> np.ndarray:
        """Fits an image into the input.

        Args:
            image: uint8 (h, w, 3); may be decoded at a reduced size.
            canvas: Array (H, W, 3) of any type to write to; None for a new uint8 array.

        Returns:
            The canvas.
        """
        return self.place(self.resize(image), canvas)

    def resize(self, image: np.ndarray) -> np.ndarray:
        """Scales an image uint8 (h, w, 3) to its size in the input, without the padding."""
        height = round(self.original[0] * self.scale_y)
        width = round(self.original[1] * self.scale_x)
        shrinks = height < image.shape[0] or width < image.shape[1]
        return cv2.resize(
            image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        )

    def place(self, resized: np.ndarray, canvas: np.ndarray | None = None) -> np.ndarray:
        """Centres an image of `resize` in the input and pads it; see `apply`."""
        if canvas is None:
            canvas = np.empty((*self.input, 3), np.uint8)
        bottom, right = self.pad_y + resized.shape[0], self.pad_x + resized.shape[1]
        canvas[: self.pad_y] = canvas[bottom:] = GREY
        canvas[self.pad_y : bottom, : self.pad_x] = canvas[self.pad_y : bottom, right:] = GREY
        canvas[self.pad_y : bottom, self.pad_x : right] = resized
        return canvas

    def forward(self, boxes: np.ndarray) -> np.ndarray:
        """Maps boxes (..., 4) from pixels of the original to pixels of the input."""
        return (boxes * self._scale() + self._pad()).astype(np.float32)

    def inverse(self, boxes: np.ndarray) -> np.ndarray:
        """Maps boxes (..., 4) from pixels of the input to the original, and clips them to it."""
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
    """Fits an image (h, w, 3) into `size`; returns uint8 (H, W, 3) and its letterbox."""
    box = Letterbox.fit(image.shape[:2], size, stretch)
    return box.apply(image), box
