"""Reads the frames of animated GIF and PNG files."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from utils.data.images import DAMAGED, opened, read_image_header
from utils.errors import UserError

ANIMATION_SUFFIXES = (".apng", ".gif")
# Viewers show a frame without a duration for a tenth of a second, and so does FFmpeg.
DEFAULT_SECONDS = 0.1
MAX_FPS = 100.0  # GIF counts in hundredths of a second


def is_animation(path: Path) -> bool:
    """Whether a file is an animation. One with a single frame is not, but is a still image."""
    if path.suffix.lower() not in ANIMATION_SUFFIXES:
        return False
    try:
        with opened(path) as image:
            image.seek(1)
            return image.format in ("GIF", "PNG")
    except (UserError, OSError):  # reading it as an image reports what is wrong
        return False


class AnimationReader(contextlib.AbstractContextManager):
    """An animated file, with the interface of `VideoReader`.

    FFmpeg reads such files too, but it estimates the number of frames of a truncated one.

    Args:
        path: The file.
        every: Step between the frames that are yielded; 1 yields all.

    Attributes:
        fps: Mean number of frames per second.
        count: Number of frames up to the first damaged one.
        frames_read: Number of frames that have been read so far, including skipped ones.
        ended_early: Whether a damaged frame ended the animation.

    Raises:
        UserError: The file is not an image of a supported format, or too large.
    """

    def __init__(self, path: Path, every: int = 1):
        read_image_header(path)
        self._path = path
        self._every = every
        self.count, self.frames_read, self.ended_early = 0, 0, False
        seconds = 0.0
        for image in self._frames():
            self.count += 1
            seconds += image.info.get("duration", 0) / 1000 or DEFAULT_SECONDS
        self.fps = min(self.count / seconds, MAX_FPS) if self.count else MAX_FPS

    def __enter__(self) -> Self:
        return self

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields (seconds since the first read began, RGB uint8 (height, width, 3)) per frame."""
        start = time.monotonic()
        for image in self._frames():
            self.frames_read += 1
            if (self.frames_read - 1) % self._every == 0:
                yield time.monotonic() - start, np.asarray(image.convert("RGB"))

    def __exit__(self, *_: object) -> None:
        pass

    def _frames(self) -> Iterator[Image.Image]:
        with Image.open(self._path) as image:
            number = 0
            while True:
                try:
                    image.seek(number)
                    image.load()
                except EOFError:
                    return
                except (OSError, *DAMAGED):
                    self.ended_early = True
                    return
                yield image
                number += 1
