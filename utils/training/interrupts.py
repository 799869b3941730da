"""Lets Ctrl-C stop training between two steps instead of within a step."""

import contextlib
import os
import signal
from collections.abc import Iterator


class StopRequest:
    """A request of the user or the system to stop, which lets the current step finish.

    Attributes:
        is_set: Whether a signal to stop has arrived.
    """

    def __init__(self) -> None:
        """Initializes a request that is not set."""
        self.is_set = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles SIGINT and SIGTERM inside a `with` block; a second signal raises.

        Raises:
            KeyboardInterrupt: A second signal arrived.
        """

        def handle(number: int, frame: object) -> None:
            if self.is_set:
                raise KeyboardInterrupt
            self.is_set = True
            # `print` is not reentrant, and the signal may interrupt a call of it.
            os.write(2, b"\nstopping after this step; press Ctrl-C again to stop immediately\n")

        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, handle) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
