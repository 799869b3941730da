"""Random geometry and colour: what is done to an image is planned first and drawn in one warp.

The plan holds no pixels, so it can be repeated, inspected and tested, and each image is decoded no
larger than it will be drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.data.letterbox import GREY

MIN_SIDE = 2.0  # input pixels; what is left of an object must be this large to be learnt
MIN_VISIBLE = 0.2  # share of an object's area that must remain in sight


@dataclass(frozen=True)
class Augmentation:
    """How much is varied. The defaults are the predecessors'.

    Attributes:
        jitter: Aspect ratios vary by up to (1 + jitter) / (1 - jitter).
        scale: Range of an image's size, 1 being the size that fits the input.
        mosaic_scale: The same for the four images of a mosaic.
        mosaic_centre: Range of a mosaic's centre, as a share of the input's sides.
        flip: Probability of a mirrored image.
        hue: Largest relative change of the hue.
        saturation: The same of the saturation.
        value: The same of the brightness.
        mosaic: Probability of four images in one.
        mixup: Probability that another image is blended into a mosaic.
    """

    jitter: float = 0.3
    scale: tuple[float, float] = (0.25, 2.0)
    mosaic_scale: tuple[float, float] = (0.4, 1.0)
    mosaic_centre: tuple[float, float] = (0.3, 0.7)
    flip: float = 0.5
    hue: float = 0.1
    saturation: float = 0.7
    value: float = 0.4
    mosaic: float = 0.5
    mixup: float = 0.5


# For runs of minutes rather than days: what is learnt of an object at a quarter or at twice its
# size, or half transparent, comes too late for them.
GENTLE = Augmentation(
    jitter=0.15,
    scale=(0.6, 1.4),
    mosaic_scale=(0.5, 1.0),
    hue=0.02,
    mosaic=0.3,
    mixup=0.1,
)


@dataclass(frozen=True)
class Placement:
    """Where one image is drawn.

    Attributes:
        original: (h, w) of the image.
        left: Its left edge in pixels of the canvas; it may lie outside.
        top: Its upper edge.
        width: Its width there.
        height: Its height there.
        flip: Whether it is mirrored.
        tile: (xmin, ymin, xmax, ymax), the part of the canvas that it may cover.
    """

    original: tuple[int, int]
    left: float
    top: float
    width: float
    height: float
    flip: bool
    tile: tuple[int, int, int, int]

    def draw(self, image: np.ndarray, canvas: np.ndarray) -> None:
        """Fill the tile of a canvas (H, W, 3) with the image, which may be decoded at 1/2 to 1/8.

        Grey surrounds it.
        """
        factor = round(max(self.original) / max(image.shape[:2]))
        scale_x = self.width / self.original[1] * factor
        scale_y = self.height / self.original[0] * factor
        left, top, right, bottom = self.tile
        # The middle of pixel 0 is at 0.5 in boxes and at 0 in OpenCV.
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
        """Boxes on the canvas, and which of them are still worth learning.

        Args:
            boxes: (N, 4) xyxy in pixels of the original.

        Returns:
            float32 (N, 4), clipped to the tile, and bool (N,).
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
        kept = (sides >= MIN_SIDE).all(axis=1) & (sides.prod(axis=1) >= MIN_VISIBLE * area)
        return visible.astype(np.float32), kept


@dataclass(frozen=True)
class Picture:
    """What one canvas shows.

    Attributes:
        parts: Which images, by position, and where.
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
    """Decide what is made of an image.

    Args:
        rng: Where chance comes from.
        augmentation: How much is varied.
        index: The image, a position in `sizes`.
        sizes: (h, w) of all images; mosaic and mixup pick their others from them.
        canvas: (H, W) of what is made.
        mosaic: Whether mosaic, and with it mixup, are switched on.

    Returns:
        One picture, or two that are to be blended half and half.
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
        left=rng.random() * (canvas[1] - width),  # beyond the border where the image is larger
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
    """Four images that meet with a corner each in one point, the rest of each cut off."""
    middle_y, middle_x = (round(side * rng.uniform(*augmentation.mosaic_centre)) for side in canvas)
    chosen = rng.permutation([index, *rng.integers(len(sizes), size=3)])
    parts = []
    for corner, other in enumerate(chosen.tolist()):
        height, width = _drawn_size(
            rng, augmentation, sizes[other], canvas, augmentation.mosaic_scale
        )
        at_right, at_bottom = corner % 2, corner // 2
        placement = Placement(
            original=sizes[other],
            left=middle_x if at_right else middle_x - width,
            top=middle_y if at_bottom else middle_y - height,
            width=width,
            height=height,
            flip=bool(rng.random() < augmentation.flip),
            tile=(
                middle_x if at_right else 0,
                middle_y if at_bottom else 0,
                canvas[1] if at_right else middle_x,
                canvas[0] if at_bottom else middle_y,
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
    """Height and width an image is drawn at: its aspect jittered, then scaled from a full fit."""
    stretch = rng.uniform(1 - augmentation.jitter, 1 + augmentation.jitter, 2)
    height, width = original[0] * stretch[0], original[1] * stretch[1]
    factor = rng.uniform(*scale) * min(canvas[0] / height, canvas[1] / width)
    return height * factor, width * factor


def _gains(rng: np.random.Generator, augmentation: Augmentation) -> tuple[float, float, float]:
    amounts = (augmentation.hue, augmentation.saturation, augmentation.value)
    return tuple((1 + rng.uniform(-1, 1, 3) * amounts).tolist())


def shift_colours(image: np.ndarray, gains: Sequence[float]) -> None:
    """Scale hue, saturation and brightness of an RGB image, uint8 (H, W, 3), in place."""
    levels = np.arange(256)[:, None] * np.asarray(gains)
    levels[:, 0] %= 180  # OpenCV's hue in 8 bits is half the angle
    table = np.minimum(levels, 255).astype(np.uint8)[None]
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=image)
