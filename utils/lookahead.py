"""Runs tasks in threads before their results are needed, and gives up on storage that hangs."""

import atexit
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing
from queue import SimpleQueue
from typing import TypeVar

from utils.errors import JobError

T = TypeVar("T")
Item = TypeVar("Item")

# Seconds for one file or frame, after which the storage is considered dead. A disk that has to
# start, or a share that reconnects, answers earlier.
READ_TIMEOUT = 120.0
EXIT_GRACE = 2.0  # seconds that running tasks have to end when the process exits

_running: set[Future] = set()
_exiting = threading.Event()


def look_ahead(
    tasks: Iterable[Callable[[], T]],
    depth: int,
    workers: int = 1,
    timeout: float | None = None,
) -> Iterator[T]:
    """Runs tasks in threads and yields their results in order.

    An exception in a task is raised in place of its result. Closing the generator stops early: it
    drops tasks that have not started, and waits for running ones unless there is a timeout.

    Args:
        tasks: Callables to run; may be endless. The calling thread takes them one by one.
        depth: Maximum number of tasks that are queued, running, or done but not yet yielded; at
            least 1.
        workers: Number of threads.
        timeout: Seconds to wait for one result; None waits without limit.

    Raises:
        TimeoutError: A result took longer than `timeout`; its thread keeps running, but does not
            keep the process from exiting.
    """
    # Threads of a ThreadPoolExecutor would do that: Python waits for them before it exits.
    queue = SimpleQueue()
    threads = [
        threading.Thread(target=_work, args=(queue,), name=f"look-ahead_{i}", daemon=True)
        for i in range(workers)
    ]
    for thread in threads:
        thread.start()
    tasks, pending, exhausted = iter(tasks), deque(), False
    try:
        while True:
            while not exhausted and len(pending) < depth:
                task = next(tasks, None)
                if task is None:
                    exhausted = True
                else:
                    pending.append(Future())
                    queue.put((pending[-1], task))
            if not pending:
                return
            yield pending.popleft().result(timeout)
    finally:
        for future in pending:
            future.cancel()
        for _ in threads:
            queue.put(None)
        if timeout is None:
            for thread in threads:
                thread.join()


def read_ahead(
    read: Callable[[Item], T],
    items: Iterable[Item],
    depth: int = 1,
    workers: int = 1,
    name: Callable[[Item], object] = str,
) -> Iterator[T]:
    """Reads files in threads and yields the results in order.

    Args:
        read: Reads one item.
        items: What to read, such as paths; may be endless.
        depth: Maximum number of items that are read ahead, see `look_ahead`.
        workers: Number of threads.
        name: Returns the file of an item, for the error message.

    Raises:
        JobError: An item took longer than `READ_TIMEOUT`; the message names it.
    """
    waiting = deque()

    def tasks() -> Iterator[Callable[[], T]]:
        for item in items:
            waiting.append(item)
            yield lambda item=item: read(item)

    with closing(look_ahead(tasks(), depth, workers, READ_TIMEOUT)) as results:
        while True:
            try:
                result = next(results)
            except StopIteration:
                return
            except TimeoutError as error:
                raise JobError(
                    f"{name(waiting[0])} gave no data for {READ_TIMEOUT:g} s: check that its disk, "
                    "network folder or camera still responds"
                ) from error
            waiting.popleft()
            yield result


def read_one(read: Callable[[Item], T], item: Item, name: Callable[[Item], object] = str) -> T:
    """Reads one item; see `read_ahead`."""
    with closing(read_ahead(read, [item], name=name)) as results:
        return next(results)


def _work(queue: SimpleQueue) -> None:
    while (entry := queue.get()) is not None and not _exiting.is_set():
        future, task = entry
        if future.set_running_or_notify_cancel():
            _running.add(future)
            try:
                future.set_result(task())
            except BaseException as error:  # noqa: BLE001  raised again by the reader of the result
                future.set_exception(error)
            finally:
                _running.discard(future)
        del entry, future, task  # results can be large


@atexit.register
def _end_tasks() -> None:
    """Waits a moment for running tasks, since libraries may crash if Python ends below them."""
    _exiting.set()
    wait(list(_running), EXIT_GRACE)
