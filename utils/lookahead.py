"""Runs tasks in threads before their results are needed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


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
        TimeoutError: A result took longer than `timeout`; its thread keeps running.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="look-ahead")
    tasks, pending, exhausted = iter(tasks), deque(), False
    try:
        while True:
            while not exhausted and len(pending) < depth:
                task = next(tasks, None)
                if task is None:
                    exhausted = True
                else:
                    pending.append(pool.submit(task))
            if not pending:
                return
            yield pending.popleft().result(timeout)
    finally:
        pool.shutdown(wait=timeout is None, cancel_futures=True)
