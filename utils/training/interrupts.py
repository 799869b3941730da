"""Lets a signal stop training between two steps instead of within a step."""

import contextlib
import os
import signal
from collections.abc import Iterator


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

        signals = [signal.SIGINT, signal.SIGTERM]
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
            signals.append(hangup)
        before = {number: signal.signal(number, handle) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
