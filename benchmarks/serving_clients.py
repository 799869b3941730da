"""Clients of the service for benchmarks: they check every answer against its own image."""

import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

ANSWER_TIMEOUT = 120.0  # seconds after which an answer counts as lost
# Between two batch sizes or runtimes: of rounding, far below the difference between two images.
MAX_PIXELS, MAX_SCORE = 0.5, 0.01


@dataclass(frozen=True)
class Photo:
    """An image file and the detections that belong to it.

    Attributes:
        data: The file.
        expected: The entry of predict.py for it.
    """

    data: bytes
    expected: dict


@dataclass
class Tally:
    """What became of the requests.

    Attributes:
        seconds: From the time at which a request was due to its answer, of those served.
        refused: The same of those refused.
        lost: Number of requests without an answer, or with another error.
        swapped: Number of answers that do not belong to the image.
        duration: Seconds of the whole load.
    """

    seconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    lost: int = 0
    swapped: int = 0
    duration: float = 0.0

    @property
    def rate(self) -> float:
        """Images per second that were served."""
        return len(self.seconds) / self.duration


class Client:
    """A connection that is kept open.

    Args:
        address: Host and port.
    """

    def __init__(self, address: tuple[str, int]):
        self._address = address
        self._socket: socket.socket | None = None

    def send(self, photo: Photo) -> tuple[int, bytes]:
        """Returns status and body of the answer; raises OSError if there is none."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, ANSWER_TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._file = self._socket.makefile("rb")
        lines = ["POST /predict HTTP/1.1", "Host: localhost", f"Content-Length: {len(photo.data)}"]
        head = "".join(f"{line}\r\n" for line in [*lines, ""])
        try:
            self._socket.sendall(head.encode() + photo.data)
            status, length = int(self._file.readline().split()[1]), 0
            while line := self._file.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            return status, self._file.read(length)
        except (OSError, IndexError) as error:  # an empty line: the connection was closed
            self.close()
            raise ConnectionError("no answer") from error

    def close(self) -> None:
        """Closes the connection; the next request opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def is_same(entry: dict, expected: dict) -> bool:
    """Returns whether an entry has the same objects as the expected one, up to rounding."""
    ours, theirs = entry["detections"], expected["detections"]
    if (entry["width"], entry["height"]) != (expected["width"], expected["height"]):
        return False
    # Two scores may be as close as the rounding, and thus change places.
    ours, theirs = (
        sorted(each, key=lambda one: (one["label"], *np.round(one["box"], -1)))
        for each in (ours, theirs)
    )
    return len(ours) == len(theirs) and all(
        one["label"] == other["label"]
        and abs(one["score"] - other["score"]) <= MAX_SCORE
        and np.abs(np.subtract(one["box"], other["box"])).max() <= MAX_PIXELS
        for one, other in zip(ours, theirs, strict=True)
    )


def run_load(
    address: tuple[str, int],
    photos: Sequence[Photo],
    clients: int,
    due: Callable[[int], float | None],
) -> Tally:
    """Sends requests from several clients, the photos in turn.

    Args:
        address: Host and port.
        photos: The photos.
        clients: Number of clients.
        due: Returns the time, in seconds since the start, at which request i is due; None for no
            more requests. If it is over, the request is sent at once.
    """
    tally, lock = Tally(), threading.Lock()
    numbers = iter(range(10**9))
    start = time.perf_counter()

    def work() -> None:
        client = Client(address)
        while True:
            with lock:
                number = next(numbers)
                planned = due(number)
            if planned is None:
                client.close()
                return
            time.sleep(max(0.0, start + planned - time.perf_counter()))
            begin = start + planned if planned else time.perf_counter()
            outcome = _ask(client, photos[number % len(photos)])
            seconds = time.perf_counter() - begin
            with lock:
                if outcome == "served":
                    tally.seconds.append(seconds)
                elif outcome == "refused":
                    tally.refused.append(seconds)
                else:
                    setattr(tally, outcome, getattr(tally, outcome) + 1)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.duration = time.perf_counter() - start
    return tally


def _ask(client: Client, photo: Photo) -> str:
    """Returns a field of `Tally`, or served."""
    try:
        status, body = client.send(photo)
    except OSError:
        return "lost"
    if status in (429, 503):
        return "refused"
    if status != 200:
        return "lost"
    return "served" if is_same(json.loads(body)[0], photo.expected) else "swapped"


def until(seconds: float) -> Callable[[int], float | None]:
    """Lets each client send its next request at once, for some seconds."""
    end = time.perf_counter() + seconds
    return lambda number: 0.0 if time.perf_counter() < end else None


def count(requests: int) -> Callable[[int], float | None]:
    """Lets each client send its next request at once, this many in all."""
    return lambda number: 0.0 if number < requests else None


def at_rate(rate: float, seconds: float) -> Callable[[int], float | None]:
    """Sends requests at a rate, whether earlier ones were answered or not.

    The times between them are random, as those of many independent users are.
    """
    random = np.random.default_rng(0)
    times = np.cumsum(random.exponential(1 / rate, round(rate * seconds)))
    return lambda number: float(times[number]) if number < len(times) else None
