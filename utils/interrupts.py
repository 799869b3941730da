"""Lets a signal stop a job between two steps instead of within a step."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType


class StopRequest:
    """A request of the user or the system to stop, which lets the current step finish.

    Args:
        what: What is finished before the stop, for the message.

    Attributes:
        is_set: Whether a signal to stop has arrived.
    """

    def __init__(self, what: str = "step") -> None:
        """Initializes a request that is not set."""
        self._what = what
        self.is_set = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles SIGINT, SIGTERM and SIGHUP inside a `with` block; a second Ctrl-C raises.

        A repeated SIGTERM or SIGHUP does not: a closed terminal sends SIGHUP twice, once from the
        system and once from the shell, and systemd sends SIGHUP after SIGTERM. If SIGHUP is
        ignored, as `nohup` does, it stays ignored.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C again.
        """
        message = f"\nstopping after this {self._what}; press Ctrl-C again to stop immediately\n"
        message = message.encode()

        def handle(number: int, frame: object) -> None:
            if self.is_set:
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                return
            self.is_set = True
            # `print` is not reentrant, and the signal may interrupt a call of it. Writing fails if
            # the terminal was closed.
            with contextlib.suppress(OSError):
                os.write(2, message)

        with handled(handle, signal.SIGINT, signal.SIGTERM):
            yield


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], None], *signals: int) -> Iterator[None]:
    """Handles signals, and SIGHUP unless it is ignored, inside a `with` block.

    Args:
        handler: Called with the number of a signal and the current frame.
        *signals: Numbers of the signals.
    """
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        signals = *signals, hangup
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
