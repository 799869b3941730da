"""Workers in the threads of one process, which exchange numbers without TensorFlow."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from utils.training.cluster import Cluster
from utils.training.workers import Workers

T = TypeVar("T")
TIMEOUT = 30  # seconds


def cluster_of(count: int, index: int) -> Cluster:
    """Returns a cluster of workers at host0:1000, host1:1001 and so on."""
    addresses = tuple(f"host{number}:{1000 + number}" for number in range(count))
    return Cluster(addresses, tuple(("worker", number) for number in range(count)), index)


def run_workers(count: int, work: Callable[[Workers], T]) -> list[T]:
    """Runs a function in each worker; returns what it returns, in their order.

    Raises:
        threading.BrokenBarrierError: Workers do not exchange the same number of times.
        ValueError: They exchange arrays of different lengths.
    """
    barrier = threading.Barrier(count)
    sent: dict[int, np.ndarray] = {}

    def start(index: int) -> T:
        def exchange(row: np.ndarray) -> np.ndarray:
            sent[index] = row
            barrier.wait(TIMEOUT)  # all have sent
            rows = np.stack([sent[number] for number in range(count)])
            barrier.wait(TIMEOUT)  # all have received
            return rows

        return work(Workers(cluster_of(count, index), exchange))

    with ThreadPoolExecutor(count) as pool:
        return [*pool.map(start, range(count))]
