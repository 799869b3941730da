"""Stopping between two steps instead of within one."""

import contextlib
import os
import signal
from collections.abc import Iterator


class StopRequest:
    """Remembers that the user or the system asked to stop, so that the step under way can end.

    Attributes:
        asked: whether one of them did.
    """

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.asked = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes Ctrl-C and the system's request to end for a while; the second raises at once.

        Raises:
            KeyboardInterrupt: asked twice.
        """

        def ask(number: int, frame: object) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            # Not by print: the signal may have come while something is printed.
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
