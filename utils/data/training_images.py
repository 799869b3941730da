"""The augmented images of a run, each of which is a function of its number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from utils.config import Augmentation
from utils.data.augment import Picture, plan, shift_colours
from utils.data.letterbox import GREY
from utils.data.reading import PatientReader, Unreadable
from utils.data.samples import Sample, Samples

NO_BOXES = np.zeros((0, 4), np.float32)
NO_LABELS = np.zeros(0, np.int32)


@dataclass(frozen=True)
class DrawnObjects:
    """The objects of an augmented image, and what became of the files that it was made from.

    Attributes:
        boxes: float32 (N, 4), xyxy in pixels of the augmented image.
        labels: int32 (N,).
        outcomes: For each file that was read, None or why it is unreadable.
    """

    boxes: np.ndarray
    labels: np.ndarray
    outcomes: list[Unreadable | None]


# Draws the image of a number, with or without mosaic, see `TrainingImages.draw`.
Draw = Callable[[int, bool, np.ndarray], DrawnObjects]


class TrainingImages:
    """The augmented images of a run.

    Each epoch is a new permutation of the samples. All randomness of image k is seeded by
    (seed, k), so it is the same whichever thread or process draws it, and when.

    Args:
        samples: The samples to draw from.
        augmentation: How images are varied.
        max_boxes: Maximum number of objects per image; the largest ones are kept.
        seed: Seed of order and augmentation.
    """

    def __init__(
        self, samples: Sequence[Sample], augmentation: Augmentation, max_boxes: int, seed: int
    ) -> None:
        self._samples = Samples.of(samples)
        self._sizes = [*map(tuple, self._samples.sizes.tolist())]
        self._augmentation = augmentation
        self._max_boxes = max_boxes
        self._seed = seed
        self._reader = PatientReader()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._samples)

    @property
    def folder(self) -> Path:
        """The folder of the first image."""
        return self._samples.folders[0]

    def sources(self, k: int, mosaic: bool, size: tuple[int, int]) -> list[Path]:
        """Returns the files that image k is made from.

        Args:
            k: Number of the image in the run, from 0.
            mosaic: Whether mosaic and mixup are used.
            size: Height and width of the image.
        """
        pictures = self._plan(k, mosaic, size)
        return [self._samples.image(index) for picture in pictures for index, _ in picture.parts]

    def draw(self, k: int, mosaic: bool, canvas: np.ndarray) -> DrawnObjects:
        """Draws image k. Files that cannot be read become grey areas without objects.

        Args:
            k: Number of the image in the run, from 0.
            mosaic: Whether mosaic and mixup are used.
            canvas: uint8 (H, W, 3); every pixel is overwritten.
        """
        first, *second = self._plan(k, mosaic, canvas.shape[:2])
        drawn = self._draw(first, canvas)
        for picture in second:
            blended = np.empty_like(canvas)
            drawn += self._draw(picture, blended)
            cv2.addWeighted(canvas, 0.5, blended, 0.5, 0, dst=canvas)
        boxes = np.concatenate([NO_BOXES, *(part.boxes for part in drawn)])
        labels = np.concatenate([NO_LABELS, *(part.labels for part in drawn)])
        if len(boxes) > self._max_boxes:
            kept = largest(boxes, self._max_boxes)
            boxes, labels = boxes[kept], labels[kept]
        return DrawnObjects(boxes, labels, [each for part in drawn for each in part.outcomes])

    def _plan(self, k: int, mosaic: bool, size: tuple[int, int]) -> list[Picture]:
        rng = np.random.default_rng([self._seed, k])
        return plan(rng, self._augmentation, self._index(k), self._sizes, size, mosaic)

    def _index(self, k: int) -> int:
        epoch, position = divmod(k, len(self._samples))
        return int(_permutation(self._seed, epoch, len(self._samples))[position])

    def _draw(self, picture: Picture, canvas: np.ndarray) -> list[DrawnObjects]:
        """Draws a picture; returns the objects of each of its images."""
        drawn = []
        for index, placement in picture.parts:
            sample = self._samples[index]
            drawn_size = (int(placement.height), int(placement.width))
            image = self._reader.read(sample.image, drawn_size, self._sizes[index])
            if isinstance(image, Unreadable):
                left, top, right, bottom = placement.tile
                canvas[top:bottom, left:right] = GREY
                drawn.append(DrawnObjects(NO_BOXES, NO_LABELS, [image]))
                continue
            placement.draw(image, canvas)
            boxes, kept = placement.forward(sample.boxes)
            drawn.append(DrawnObjects(boxes[kept], sample.labels[kept], [None]))
        shift_colours(canvas, picture.gains)
        return drawn


def largest(boxes: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the `count` largest boxes xyxy, largest first."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.argsort(-areas, kind="stable")[:count]


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, 1]).permutation(count)
