"""Random geometry and colour: first a plan, then one warp per image that follows it.

A plan contains no pixels, so it can be repeated, inspected and tested. Each image is decoded at a
size that suits the size at which it is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.config import Augmentation
from utils.data.letterbox import GREY

# An object is kept if its visible part has sides of at least MIN_BOX_SIDE canvas pixels and covers
# at least the fraction MIN_BOX_SHARE of its area.
MIN_BOX_SIDE = 2.0
MIN_BOX_SHARE = 0.2


@dataclass(frozen=True)
class Placement:
    """Where and how large one image is drawn.

    Attributes:
        original: Height and width of the image in pixels.
        left: Left edge in pixels of the canvas; may be outside.
        top: Top edge in pixels of the canvas; may be outside.
        width: Width in pixels of the canvas.
        height: Height in pixels of the canvas.
        flip: Whether the image is mirrored horizontally.
        tile: (xmin, ymin, xmax, ymax), the part of the canvas that the image is clipped to.
    """

    original: tuple[int, int]
    left: float
    top: float
    width: float
    height: float
    flip: bool
    tile: tuple[int, int, int, int]

    def draw(self, image: np.ndarray, canvas: np.ndarray) -> None:
        """Draws the image into its tile; the rest of the tile becomes grey.

        Args:
            image: uint8 (h, w, 3); may be decoded at 1/2, 1/4 or 1/8 of its size.
            canvas: uint8 (H, W, 3), changed in place.
        """
        # Sides are rounded up, so the ratio of the sides of a small image is not the factor.
        decoded, side = max(image.shape[:2]), max(self.original)
        factor = next(factor for factor in (1, 2, 4, 8) if -(-side // factor) == decoded)
        scale_x = self.width / self.original[1] * factor
        scale_y = self.height / self.original[0] * factor
        left, top, right, bottom = self.tile
        # The centre of pixel 0 is at 0.5 in boxes and at 0 in OpenCV.
        offset_x = self.left + 0.5 * scale_x - 0.5 - left
        offset_y = self.top + 0.5 * scale_y - 0.5 - top
        if self.flip:
            scale_x, offset_x = -scale_x, 2 * (self.left - left) + self.width - 1 - offset_x
        cv2.warpAffine(
            image,
            np.array([[scale_x, 0, offset_x], [0, scale_y, offset_y]]),
            (right - left, bottom - top),
            dst=canvas[top:bottom, left:right],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(GREY,) * 3,
        )

    def forward(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps boxes to the canvas.

        Args:
            boxes: (N, 4) xyxy pixels of the original image.

        Returns:
            Boxes float32 (N, 4), clipped to the tile, and bool (N,): whether each is kept.
        """
        height, width = self.original
        boxes = np.clip(boxes, 0, (width, height, width, height)).astype(np.float64)
        if self.flip:
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        boxes *= np.tile((self.width / width, self.height / height), 2)
        boxes += np.tile((self.left, self.top), 2)
        left, top, right, bottom = self.tile
        visible = np.clip(boxes, (left, top, left, top), (right, bottom, right, bottom))
        sides = visible[:, 2:] - visible[:, :2]
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        kept = (sides >= MIN_BOX_SIDE).all(axis=1) & (sides.prod(axis=1) >= MIN_BOX_SHARE * area)
        return visible.astype(np.float32), kept


@dataclass(frozen=True)
class Picture:
    """The content of one canvas.

    Attributes:
        parts: Index and placement of each image.
        gains: Factors of hue, saturation and brightness.
    """

    parts: tuple[tuple[int, Placement], ...]
    gains: tuple[float, float, float]


def plan(
    rng: np.random.Generator,
    augmentation: Augmentation,
    index: int,
    sizes: Sequence[tuple[int, int]],
    canvas: tuple[int, int],
    mosaic: bool,
) -> list[Picture]:
    """Plans a training image.

    Args:
        rng: Source of all randomness.
        augmentation: How images are varied.
        index: Index of the image in `sizes`.
        sizes: Height and width of all images, from which mosaic and mixup choose further ones.
        canvas: Height and width of the result.
        mosaic: Whether mosaic and mixup are used.

    Returns:
        One picture, or two that are to be averaged.
    """
    if not mosaic or rng.random() >= augmentation.mosaic:
        return [_single(rng, augmentation, index, sizes, canvas)]
    pictures = [_mosaic(rng, augmentation, index, sizes, canvas)]
    if rng.random() < augmentation.mixup:
        other = int(rng.integers(len(sizes)))
        pictures.append(_single(rng, augmentation, other, sizes, canvas))
    return pictures


def _single(
    rng: np.random.Generator,
    augmentation: Augmentation,
    index: int,
    sizes: Sequence[tuple[int, int]],
    canvas: tuple[int, int],
) -> Picture:
    height, width = _drawn_size(rng, augmentation, sizes[index], canvas, augmentation.scale)
    placement = Placement(
        original=sizes[index],
        left=rng.random() * (canvas[1] - width),  # negative if the image is larger
        top=rng.random() * (canvas[0] - height),
        width=width,
        height=height,
        flip=bool(rng.random() < augmentation.flip),
        tile=(0, 0, canvas[1], canvas[0]),
    )
    return Picture(((index, placement),), _gains(rng, augmentation))


def _mosaic(
    rng: np.random.Generator,
    augmentation: Augmentation,
    index: int,
    sizes: Sequence[tuple[int, int]],
    canvas: tuple[int, int],
) -> Picture:
    """Four images, each with one corner at a common point and clipped to its quadrant."""
    centre_y, centre_x = (round(side * rng.uniform(*augmentation.mosaic_centre)) for side in canvas)
    chosen = rng.permutation([index, *rng.integers(len(sizes), size=3)])
    parts = []
    for corner, other in enumerate(chosen.tolist()):
        height, width = _drawn_size(
            rng, augmentation, sizes[other], canvas, augmentation.mosaic_scale
        )
        at_right, at_bottom = corner % 2, corner // 2
        placement = Placement(
            original=sizes[other],
            left=centre_x if at_right else centre_x - width,
            top=centre_y if at_bottom else centre_y - height,
            width=width,
            height=height,
            flip=bool(rng.random() < augmentation.flip),
            tile=(
                centre_x if at_right else 0,
                centre_y if at_bottom else 0,
                canvas[1] if at_right else centre_x,
                canvas[0] if at_bottom else centre_y,
            ),
        )
        parts.append((other, placement))
    return Picture(tuple(parts), _gains(rng, augmentation))


def _drawn_size(
    rng: np.random.Generator,
    augmentation: Augmentation,
    original: tuple[int, int],
    canvas: tuple[int, int],
    scale: tuple[float, float],
) -> tuple[float, float]:
    """Chooses a random height and width at which an image is drawn."""
    stretch = rng.uniform(1 - augmentation.jitter, 1 + augmentation.jitter, 2)
    height, width = original[0] * stretch[0], original[1] * stretch[1]
    factor = rng.uniform(*scale) * min(canvas[0] / height, canvas[1] / width)
    return height * factor, width * factor


def _gains(rng: np.random.Generator, augmentation: Augmentation) -> tuple[float, float, float]:
    amounts = (augmentation.hue, augmentation.saturation, augmentation.value)
    return tuple((1 + rng.uniform(-1, 1, 3) * amounts).tolist())


def shift_colours(image: np.ndarray, gains: Sequence[float]) -> None:
    """Multiplies hue, saturation and brightness of an RGB image, uint8 (H, W, 3), in place."""
    levels = np.arange(256)[:, None] * np.asarray(gains)
    levels[:, 0] %= 180  # OpenCV stores half the angle in 8 bits
    table = np.minimum(levels, 255).astype(np.uint8)[None]
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=image)
