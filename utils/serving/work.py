"""The work of a request: its images, on the way from decoding to their results."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from threading import Lock

import numpy as np

from utils.inference.detections import Detections
from utils.inference.predictor import Prepared
from utils.inference.thresholds import Thresholds
from utils.serving.refusals import too_late

Result = Detections | Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Picture:
    """An image in the size of the network.

    Attributes:
        source: Name of the image for its result.
        pixels: The resized image, or a canvas (H, W, 3) float32 of the client.
        thresholds: Thresholds of its detections; None for the outputs of the network.
    """

    source: str
    pixels: Prepared | np.ndarray
    thresholds: Thresholds | None


class Work:
    """The images of one request.

    Results come from other threads than the one that waits for them. The first end counts: a
    result, an error, or the cancellation of `future`.

    Args:
        decode: Decodes the images one by one; a decoding thread calls it.
        deadline: Time of `time.monotonic` after which the request needs no answer.

    Attributes:
        future: The pictures and their results, in order.
        deadline: See above.
        decode: See above.
    """

    def __init__(self, decode: Callable[[], Iterator[Picture]], deadline: float):
        self.decode = decode
        self.deadline = deadline
        self.future: Future[list[tuple[Picture, Result]]] = Future()
        self._results: dict[int, tuple[Picture, Result]] = {}
        self._count: int | None = None  # of images, known after the last one was decoded
        self._lock = Lock()

    def is_open(self) -> bool:
        """Returns whether a result is still needed; a passed deadline ends the work."""
        if not self.future.done() and time.monotonic() > self.deadline:
            self.fail(too_late())
        return not self.future.done()

    def fail(self, error: Exception) -> None:
        """Ends the work with an error, unless it has ended."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def set_count(self, count: int) -> None:
        """Sets the number of images, all of which were decoded."""
        with self._lock:
            self._count = count
        self._finish()

    def set_result(self, index: int, picture: Picture, result: Result) -> None:
        """Sets the result of an image."""
        with self._lock:
            self._results[index] = picture, result
        self._finish()

    def _finish(self) -> None:
        with self._lock:
            if self._count is None or len(self._results) < self._count:
                return
            results = [self._results[index] for index in range(self._count)]
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(results)
