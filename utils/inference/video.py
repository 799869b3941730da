"""Reading and writing videos, no frame lost."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from utils.errors import UserError
from utils.files import part_of

# What goes wrong is said by the errors below, with the name of the file.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET

USUAL_FPS = 25.0  # for cameras and streams that do not say
FINE_RATES = 65  # frames a second up to which MPEG-4 has a time unit for any rate


class VideoReader(contextlib.AbstractContextManager):
    """A video file, a camera or a stream.

    Args:
        address: a path, a camera's number or a URL.

    Attributes:
        fps: frames a second.
        count: about how many frames there are, None for what goes on until someone stops it.

    Raises:
        UserError: it cannot be opened.
    """

    def __init__(self, address: str):
        self._capture = cv2.VideoCapture(int(address) if address.isdecimal() else address)
        if not self._capture.isOpened():
            raise UserError(f"cannot open video {address}: not there, damaged or of no known kind")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else USUAL_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Gives each frame, RGB uint8 `(height, width, 3)`, after the seconds until it was read."""
        start = time.monotonic()
        while True:
            there, frame = self._capture.read()
            if not there:
                return
            yield time.monotonic() - start, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def __exit__(self, *_: object) -> None:
        self._capture.release()


class VideoWriter(contextlib.AbstractContextManager):
    """An .mp4 that is there once it is whole: an error inside the `with` leaves no file.

    MPEG-4 stores even sizes only, so an odd width or height grows by one pixel, and no time unit
    below 1/65535 s, so a rate of more than 65 frames a second, such as 119.877, is rounded to a
    tenth.

    Args:
        path: where to write.
        fps: frames a second.
    """

    def __init__(self, path: Path, fps: float):
        self.path = path
        self.fps = fps if fps < FINE_RATES else round(fps, 1)
        self.count = 0
        self._part = part_of(path)
        self._writer = None

    def write(self, frame: np.ndarray, seconds: float = 0) -> None:
        """Appends a frame, more than once if the video has not yet come to `seconds`.

        Args:
            frame: RGB uint8 `(height, width, 3)`.
            seconds: when it was taken, for sources that a slow network cannot keep up with: their
                video would play too fast otherwise.
        """
        height, width = frame.shape[:2]
        frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self._writer is None:
            self._size = frame.shape[1::-1]
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._part), codec, self.fps, self._size)
            if not self._writer.isOpened():
                raise UserError(f"cannot write {self.path}: can its folder be written to?")
        elif frame.shape[1::-1] != self._size:  # a stream may change; OpenCV would skip the frame
            frame = cv2.resize(frame, self._size)
        for _ in range(max(1, round(seconds * self.fps) + 1 - self.count)):
            self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            self.count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
                if kind is None:
                    self._check()
                    self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def _check(self) -> None:
        # OpenCV says nothing when a write fails; then the file has no table of its frames.
        written = cv2.VideoCapture(str(self._part))
        count = written.get(cv2.CAP_PROP_FRAME_COUNT)
        written.release()
        if count != self.count:
            raise UserError(f"cannot write {self.path}: is the disk full?")
