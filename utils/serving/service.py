"""The service behind the routes: it admits requests, and passes their work through the threads."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from utils.serving.body import Memory, read_body
from utils.serving.metrics import Metrics
from utils.serving.network import Network
from utils.serving.queue import WorkQueue
from utils.serving.refusals import Refusal, broken, too_late
from utils.serving.settings import BODIES_IN_MEMORY, ServingSettings
from utils.serving.watchdog import Watchdog
from utils.serving.work import Picture, Result, Work
from utils.serving.worker import DECODING_THREADS, make_workers

FINISHING_THREADS = 2
LONGEST_WAIT = 60  # seconds of Retry-After
FRESH = 1.0  # seconds for which a result shows that the network works

Results = Sequence[tuple[Picture, Result]]


class Task(Protocol):
    """What is done for a request, in other threads than that of the event loop.

    Attributes:
        is_quick: Whether the answer to one image is made so quickly that the event loop can do it.
    """

    is_quick: bool

    def pictures(self) -> Iterator[Picture]:
        """Decodes the images one by one.

        Raises:
            Refusal: The request is not valid.
        """
        ...

    def answer(self, results: Results) -> Response:
        """Makes the answer.

        Raises:
            Refusal: It cannot be made.
        """
        ...


class Service:
    """Runs a network for many clients.

    Args:
        network: The network, after its warm-up.
        settings: The settings of the service.
        on_failure: Called with the reason, in another thread, when the service cannot compute any
            more; it must end the process.
        clock: Returns the time in seconds, for the age of results.

    Attributes:
        network: See above.
        settings: See above.
        metrics: The metrics.
        stopping: Whether the service ends, so that it takes no new requests.
        failure: Why the service cannot compute any more; None if it can.
    """

    def __init__(
        self,
        network: Network,
        settings: ServingSettings,
        on_failure: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.network = network
        self.settings = settings
        self.metrics = Metrics()
        self.stopping = False
        self.failure: str | None = None
        self._on_failure = on_failure
        self._clock = clock
        self._computed = -math.inf  # time of the last result
        self._memory = Memory(BODIES_IN_MEMORY * settings.max_bytes)
        self._queue = WorkQueue(network.max_batch + DECODING_THREADS)
        self._workers = make_workers(self._queue, network, settings.max_wait, self._observe)
        self._watchdog = Watchdog(self._workers, settings.hang_after, self._fail)
        self._finishers = ThreadPoolExecutor(FINISHING_THREADS, "finishing thread")
        self._seats = 0  # taken by requests; only the event loop changes it
        self._works: set[Work] = set()
        self._probe: asyncio.Task | None = None
        self._seconds = 0.0  # per image, a moving average
        gauge = self.metrics.gauge
        gauge("swapyolo_queue_depth", "Requests that wait", lambda: len(self._queue))
        gauge("swapyolo_requests_open", "Accepted, not yet answered", lambda: self._seats)

    def start(self) -> None:
        """Starts the threads."""
        for worker in self._workers:
            worker.start()
        self._watchdog.start()

    def stop(self) -> None:
        """Ends the threads; the requests must have been answered."""
        self.stopping = True  # also for what runs aside
        self._watchdog.stop()
        self._queue.close()
        for worker in self._workers:
            worker.join(1.0)
        self._finishers.shutdown(wait=False, cancel_futures=True)

    async def serve(
        self, request: Request, deadline: float, make_task: Callable[[bytes], Task]
    ) -> Response:
        """Answers a request.

        Args:
            request: The request.
            deadline: Time of `time.monotonic` at which the answer must be there.
            make_task: Makes the task from the body; must be quick.

        Raises:
            Refusal: The request is not served.
            ClientDisconnect: The client has vanished.
        """
        self._check_room()  # before the body is read
        with self._memory.share() as share:
            body = await read_body(request, self.settings.max_bytes, share, deadline)
            with self._seat():
                task = make_task(body)
                del body
                results = await self._compute(request, Work(task.pictures, deadline))
                if len(results) == 1 and task.is_quick:
                    return task.answer(results)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._finishers, task.answer, results)

    @property
    def is_idle(self) -> bool:
        """Whether no request is open."""
        return self._seats == 0

    def run_aside(self, decode: Callable[[], Iterator[Picture]]) -> Results:
        """Computes pictures for the service itself; for other threads than the event loop.

        Args:
            decode: Decodes the pictures, see `Work`.

        Raises:
            Refusal: They cannot be computed.
            TimeoutError: They are not computed in time.
        """
        self._check_open()
        work = Work(decode, time.monotonic() + self.settings.timeout)
        try:
            self._start_work(work)
            return work.future.result(self.settings.timeout)
        finally:
            self._works.discard(work)

    async def check_ready(self) -> None:
        """Runs the network on a grey image, unless it has just computed something.

        So probes, which need no token, take little time from requests. Those at the same time share
        one run.

        Raises:
            Refusal: The service is not ready.
        """
        self._check_open()
        if self._clock() - self._computed < FRESH:
            return
        if self._probe is None:
            self._probe = asyncio.ensure_future(self._run_probe())
            # Its error is not lost if no request waits for it any more.
            self._probe.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._probe)

    def check_alive(self) -> None:
        """Checks that the threads work.

        Raises:
            Refusal: They do not.
        """
        if self.failure:
            raise broken(self.failure)

    def _check_open(self) -> None:
        self.check_alive()
        if self.stopping:
            raise Refusal(503, "stopping", "the service stops, try again later", 1)

    def retry_after(self) -> int:
        """Returns the seconds after which the requests of now are probably answered."""
        return min(max(1, math.ceil(self._seats * self._seconds)), LONGEST_WAIT)

    async def _run_probe(self) -> None:
        work = Work(self._grey_picture, time.monotonic() + self.settings.timeout)
        try:
            self._start_work(work, first=True)
            await asyncio.wait_for(asyncio.wrap_future(work.future), self.settings.timeout)
            self._computed = self._clock()
        except TimeoutError as error:
            raise too_late() from error
        finally:
            self._works.discard(work)
            self._probe = None

    def _grey_picture(self) -> Iterator[Picture]:
        height, width = self.network.metadata.input_size
        grey = np.full((height, width, 3), 128, np.uint8)
        yield Picture("a grey image", self.network.prepare(grey), self.network.thresholds)

    async def _compute(self, request: Request, work: Work) -> Results:
        """Waits for a work, its deadline, or the end of the client, whichever comes first."""
        future = asyncio.wrap_future(work.future)
        gone = asyncio.ensure_future(request.receive())  # the body was read, so the end comes next
        try:
            self._start_work(work)
            left = max(0.0, work.deadline - time.monotonic())
            await asyncio.wait({future, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                results = future.result()
                self._computed = self._clock()
                return results
            if gone.done():
                raise Refusal(499, "cancelled", "the client has vanished")
            raise too_late()
        finally:
            self._works.discard(work)
            future.cancel()  # also the work
            gone.cancel()

    def _start_work(self, work: Work, first: bool = False) -> None:
        self._works.add(work)
        self._queue.put(work, first)

    @contextlib.contextmanager
    def _seat(self) -> Iterator[None]:
        self._check_room()
        self._seats += 1
        try:
            yield
        finally:
            self._seats -= 1

    def _check_room(self) -> None:
        self._check_open()
        if self._seats >= self.settings.queue:
            raise Refusal(
                503, "queue_full", "the queue is full, try again later", self.retry_after()
            )

    def _observe(self, images: int, seconds: float) -> None:
        self._seconds += 0.1 * (seconds / images - self._seconds)
        self.metrics.count_batch(images, seconds)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        for work in list(self._works):
            work.fail(broken(reason))
        self._on_failure(reason)
