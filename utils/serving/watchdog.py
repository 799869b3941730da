"""Ends the service when one of its threads hangs or has died."""

import time
from collections.abc import Callable, Sequence
from threading import Event, Thread

from utils.serving.worker import Worker


class Watchdog:
    """Observes threads from a thread of its own.

    Args:
        workers: The threads.
        hang_after: Seconds after which a task counts as hanging.
        fail: Called once, with the reason, if a thread hangs or has died.
    """

    def __init__(self, workers: Sequence[Worker], hang_after: float, fail: Callable[[str], None]):
        self._workers = workers
        self._hang_after = hang_after
        self._fail = fail
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Starts observing; the threads must have been started."""
        self._thread.start()

    def stop(self) -> None:
        """Stops observing."""
        self._stop.set()

    def problem(self) -> str | None:
        """Returns what is wrong with the threads; None if nothing is."""
        for worker in self._workers:
            since = worker.busy_since  # the thread may reset it meanwhile
            if since is not None and time.monotonic() - since > self._hang_after:
                return f"the {worker.name} hangs since {self._hang_after:g} s"
            if not worker.is_alive() and not worker.ended:
                return f"the {worker.name} has died"
        return None

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, self._hang_after / 4)):
            if (reason := self.problem()) is not None:
                self._fail(reason)
                return
