"""What the workers of a run decide together: when to stop, what time it is, and what was measured.

All workers run the same program, and every collective operation of one needs the same operation of
all others. Whatever changes the course of the program must therefore be equal on all workers. They
exchange a few numbers before each step, which takes about as long as one message in the network.
A process that trains alone exchanges nothing.
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from utils.errors import JobError, UserError
from utils.training.cluster import ALONE, Cluster

# Takes int64 (N,), with the same N on all workers, and returns the arrays of all, (workers, N).
# It raises a JobError if a worker was lost.
Exchange = Callable[[np.ndarray], np.ndarray]

# Numbers per message. Each size is traced once, so there are only two for data of any length.
SMALL, LARGE = 64, 65536


class Workers:
    """The processes that train together, of which this is one.

    Each method is a collective operation: all workers must call the same methods in the same order.

    Args:
        cluster: The processes.
        exchange: Exchanges arrays with the others; None for a process that trains alone.

    Attributes:
        cluster: The processes.
    """

    def __init__(self, cluster: Cluster = ALONE, exchange: Exchange | None = None):
        self.cluster = cluster
        self._exchange = exchange
        self._stops = False
        self._now = 0.0
        self.update_time()

    @property
    def count(self) -> int:
        """Number of processes."""
        return len(self.cluster.addresses)

    @property
    def index(self) -> int:
        """Number of this process, from 0."""
        return self.cluster.index

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run directory."""
        return self.cluster.is_chief

    def rows(self, batch_size: int) -> range:
        """Returns which images of each batch this process prepares and trains on.

        Args:
            batch_size: Images per batch, over all workers.
        """
        return range(*(batch_size * at // self.count for at in (self.index, self.index + 1)))

    def now(self) -> float:
        """Returns `time.monotonic()` of the chief at the last exchange, in seconds.

        This is not a collective operation. Between two exchanges, all workers get the same time.
        """
        return time.monotonic() if self._exchange is None else self._now

    def update_time(self) -> None:
        """Sets `now` to the current time of the chief."""
        self._exchange_numbers(0, 0)

    def agree(self, stop: bool, objects: int) -> int:
        """Exchanges what each worker knows before a step.

        Args:
            stop: Whether this worker was requested to stop.
            objects: The most objects per image of its part of the batch.

        Returns:
            The most objects per image of the whole batch.
        """
        if self._exchange is None:
            return objects
        numbers = self._exchange_numbers(int(stop), objects)
        self._stops = bool(numbers[:, 0].any())
        return int(numbers[:, 1].max())

    def stops(self, stop: bool) -> bool:
        """Whether to stop after the current step.

        This is not a collective operation. All workers get the same answer.

        Args:
            stop: Whether this process was requested to stop. With several workers, only requests
                before the last `agree` count.
        """
        return stop if self._exchange is None else self._stops

    def gather(self, data: bytes) -> list[bytes]:
        """Returns the data of all workers, of any lengths."""
        if self._exchange is None:
            return [data]
        lengths = self._exchange_numbers(len(data), 0)[:, 0]
        words = max(1, -(-int(lengths.max()) // 8))
        size = SMALL if words <= SMALL else LARGE
        padded = np.zeros(-(-words // size) * size, np.int64)
        padded.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        chunks = [self._exchange(chunk) for chunk in padded.reshape(-1, size)]
        rows = np.concatenate(chunks, axis=1).view(np.uint8)
        return [row[:length].tobytes() for row, length in zip(rows, lengths, strict=True)]

    def from_chief(self, value: Any) -> Any:
        """Returns the value of the chief, which must be JSON."""
        if self._exchange is None:
            return value
        data = json.dumps(value).encode() if self.is_chief else b""
        return json.loads(self.gather(data)[0])

    def require_same(self, values: Mapping[str, Any]) -> None:
        """Checks that values are equal on all workers.

        Args:
            values: Values as JSON, by what they are for the user.

        Raises:
            UserError: A value differs. All workers raise it.
        """
        if self._exchange is None:
            return
        first, *others = (json.loads(data) for data in self.gather(json.dumps(values).encode()))
        for index, other in enumerate(others, start=1):
            for what, value in first.items():
                if other[what] != value:
                    raise UserError(
                        f"{self.cluster.name(index)} differs from worker 0 in {what}: start all "
                        "workers with the same flags, data, weights and devices, and with a run "
                        "directory on storage that they share"
                    )

    def finish(self) -> None:
        """Waits until all workers have done their work, so that none seems to be lost.

        Raises:
            JobError: A worker was lost before.
        """
        if self._exchange is None:
            return
        self.update_time()
        with contextlib.suppress(JobError):  # others may have left as soon as they were here
            self.update_time()

    def _exchange_numbers(self, first: int, second: int) -> np.ndarray:
        """Exchanges two numbers and the time; returns int64 (workers, 3)."""
        row = np.array([first, second, time.monotonic_ns()], np.int64)
        if self._exchange is None:
            return row[None]
        numbers = self._exchange(row)
        self._now = numbers[0, 2] / 1e9
        return numbers
