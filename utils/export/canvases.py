"""Reads evenly spaced images of a list, letterboxed as in prediction."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from utils.config import Resize
from utils.data.images import read_image
from utils.data.letterbox import Letterbox
from utils.data.parallel import read_all

T = TypeVar("T")


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """Chooses up to `most` items, so that they cover lists that are sorted by scene or class."""
    count = min(most, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def read_canvases(paths: Sequence[Path], size: tuple[int, int], resize: Resize) -> np.ndarray:
    """Reads images in threads, and fits them into the input of a network.

    Args:
        paths: The images.
        size: Height and width of the input.
        resize: How an image is fitted into it.

    Returns:
        (N, H, W, 3) uint8.

    Raises:
        UserError: An image cannot be read.
        JobError: The disk or network folder does not respond.
    """
    canvases = np.empty((len(paths), *size, 3), np.uint8)

    def read(index: int) -> None:
        image = read_image(paths[index], size)
        fit = Letterbox.fit(image.shape[:2], size, stretch=resize == "stretch")
        fit.apply(image, canvases[index])

    read_all(read, range(len(paths)), "reading images", lambda index: paths[index])
    return canvases
