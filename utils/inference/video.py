"""Reads and writes videos without losing frames."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from utils.errors import JobError, UserError
from utils.files import written_whole

# The errors below name the file; messages of OpenCV and FFmpeg do not.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET

DEFAULT_FPS = 25.0  # for cameras and streams that do not report their frame rate
RELEASE_TIMEOUT = 2.0  # seconds
EXACT_FPS_LIMIT = 65  # below this frame rate, MPEG-4 has a suitable time unit for any rate


class VideoReader(contextlib.AbstractContextManager):
    """A video file, a camera or a stream.

    Args:
        address: A path, the number of a camera, or a URL.
        every: Step between the frames that are yielded; 1 yields all.

    Attributes:
        fps: Frames per second.
        count: Approximate number of frames; None for live sources.
        frames_read: Number of frames that have been read so far, including skipped ones.

    Raises:
        UserError: The video cannot be opened.
    """

    def __init__(self, address: str, every: int = 1):
        self._every = every
        self._lock = threading.Lock()
        self._last_seconds = 0.0
        self.frames_read = 0
        self._capture = cv2.VideoCapture(int(address) if address.isdecimal() else _named(address))
        if not self._capture.isOpened():
            raise UserError(f"cannot open video {address}, check that it exists and plays")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else DEFAULT_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields (seconds since the first read began, RGB uint8 (height, width, 3)) per frame."""
        start = time.monotonic()
        while True:
            with self._lock:
                frame = self._next_frame()
            if frame is None:
                return
            yield time.monotonic() - start, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def __exit__(self, *_: object) -> None:
        # OpenCV crashes if a video is released while another thread reads it. A thread that does
        # not finish waits for storage that does not respond.
        if self._lock.acquire(timeout=RELEASE_TIMEOUT):
            self._capture.release()
            self._lock.release()

    @property
    def ended_early(self) -> bool:
        """Whether the video, once read, has ended clearly before its stated duration.

        The number of frames is not enough: of a video whose frame rate varies, some containers
        state only the duration, from which FFmpeg estimates a number.
        """
        if not self.count or self.frames_read >= self.count - 1:
            return False
        duration = self.count / self.fps
        missing = duration - self._last_seconds - 1 / self.fps
        return missing > max(1.5 / self.fps, 0.01 * duration)

    def _next_frame(self) -> np.ndarray | None:
        """Returns the next frame that is not skipped, BGR; None at the end."""
        while self._capture.grab():
            self.frames_read += 1
            self._last_seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if (self.frames_read - 1) % self._every == 0:
                success, frame = self._capture.retrieve()
                return frame if success else None
        return None


class VideoWriter(contextlib.AbstractContextManager):
    """Writes an .mp4 file that appears when the `with` block ends.

    No file appears if the block raises, or if no frame was written. A `JobError` at the end of the
    block means that the disk is full.

    MPEG-4 stores only even sizes, so an odd width or height grows by one pixel. Its time unit is
    at least 1/65535 s, so a rate of more than 65 frames per second, such as 119.877, is rounded to
    a tenth.

    Args:
        path: The file to write.
        fps: Frames per second.
    """

    def __init__(self, path: Path, fps: float):
        self.path = path
        self.fps = fps if fps < EXACT_FPS_LIMIT else round(fps, 1)
        self.count = 0
        self._resources = contextlib.ExitStack()
        self._encoder = None

    def write(self, frame: np.ndarray, seconds: float = 0) -> None:
        """Appends a frame, repeated until the video has reached `seconds`.

        Args:
            frame: RGB uint8 (height, width, 3).
            seconds: Time at which a live source delivered the frame. If the detector is slower than
                the source, frames are missing. Without repetition, the video would play too fast.

        Raises:
            UserError: The file cannot be opened for writing.
        """
        height, width = frame.shape[:2]
        frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self._encoder is None:
            self._size = frame.shape[1::-1]
            self._encoder = self._resources.enter_context(self._opened())
        elif frame.shape[1::-1] != self._size:
            # The size of a stream may change, but OpenCV would skip frames of another size.
            frame = cv2.resize(frame, self._size)
        for _ in range(max(1, round(seconds * self.fps) + 1 - self.count)):
            self._encoder.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            self.count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[cv2.VideoWriter]:
        with written_whole(self.path) as (part,):
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            encoder = cv2.VideoWriter(_named(str(part)), codec, self.fps, self._size)
            if not encoder.isOpened():
                raise UserError(f"cannot write {self.path}: check that its folder is writable")
            try:
                yield encoder
            finally:
                encoder.release()
            # OpenCV does not report failed writes, but after one the file contains fewer frames.
            if _count_frames(part) != self.count:
                raise JobError(f"cannot write {self.path}: check that the disk is not full")


def _named(address: str) -> bytes:
    """Encodes a path or URL for OpenCV, which crashes on a text that is not UTF-8.

    A path becomes absolute, since FFmpeg takes what precedes a colon for a protocol.
    """
    return os.fsencode(address if "://" in address else Path(address).absolute())


def _count_frames(path: Path) -> float:
    video = cv2.VideoCapture(_named(str(path)))
    count = video.get(cv2.CAP_PROP_FRAME_COUNT)
    video.release()
    return count
