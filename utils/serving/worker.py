"""The threads of the service: those that decode images, and the one that runs the network."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Thread

from utils.inference.detections import NanError
from utils.serving.network import Network
from utils.serving.queue import Entry, WorkQueue
from utils.serving.refusals import FAILED, Refusal
from utils.serving.work import Work

LOG = logging.getLogger("swapyolo.serve")
DECODING_THREADS = 2  # one decodes while the other waits for room


class Worker(Thread):
    """A thread that a watchdog can observe.

    Args:
        name: Its name, for errors.
        target: What it does; gets the worker.

    Attributes:
        busy_since: Time of `time.monotonic` at which its current task began; None if it waits.
        ended: Whether its target has returned, as at the end of the service.
    """

    def __init__(self, name: str, target: Callable[["Worker"], None]):
        super().__init__(name=name, daemon=True)  # a thread that hangs must not keep the process
        self._job = target
        self.busy_since: float | None = None
        self.ended = False

    def run(self) -> None:
        """Runs the target."""
        self._job(self)
        self.ended = True

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Marks a task, which must not take longer than the watchdog allows."""
        self.busy_since = time.monotonic()
        try:
            yield
        finally:
            self.busy_since = None


def make_workers(
    queue: WorkQueue,
    network: Network,
    max_wait: float,
    observe: Callable[[int, float], None],
) -> list[Worker]:
    """Makes the threads of a service; they end when the queue is closed and empty.

    Args:
        queue: Where work comes from.
        network: The network.
        max_wait: Seconds that an image waits for others to fill a batch.
        observe: Called with the number of images and the seconds of each call of the network.
    """

    def decode(worker: Worker) -> None:
        while (work := queue.next_work()) is not None:
            try:
                with failing(work):
                    _decode(worker, work, queue)
            finally:
                queue.decoded()

    def infer(worker: Worker) -> None:
        while (batch := queue.take(network.max_batch, max_wait)) is not None:
            batch = [entry for entry in batch if entry.work.is_open()]
            if batch:
                start = time.monotonic()
                with worker.busy(), failing(*(entry.work for entry in batch)):
                    _infer(network, batch)
                observe(len(batch), time.monotonic() - start)
            del batch  # its images are large

    decoders = [Worker(f"decoding thread {i + 1}", decode) for i in range(DECODING_THREADS)]
    return [*decoders, Worker("inference thread", infer)]


def _decode(worker: Worker, work: Work, queue: WorkQueue) -> None:
    pictures, count = work.decode(), 0
    while work.is_open():
        with worker.busy():
            picture = next(pictures, None)
        if picture is None:
            work.set_count(count)
            return
        queue.offer(Entry(work, count, picture))
        count += 1


def _infer(network: Network, batch: Sequence[Entry]) -> None:
    results = network.run([entry.picture for entry in batch])
    for entry, result in zip(batch, results, strict=True):
        if isinstance(result, NanError):
            entry.work.fail(
                Refusal(500, "failed", f"the network computes NaN for {entry.picture.source}")
            )
        else:
            entry.work.set_result(entry.index, entry.picture, result)


@contextlib.contextmanager
def failing(*works: Work) -> Iterator[None]:
    """Ends works with the error of the block, so that the thread continues with others."""
    try:
        yield
    except Refusal as refusal:
        for work in works:
            work.fail(refusal)
    except Exception as error:  # of any runtime; the thread must survive it
        LOG.error("a task of the service failed", exc_info=error)
        for work in works:
            work.fail(Refusal(500, "failed", FAILED))
