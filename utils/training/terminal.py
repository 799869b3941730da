"""Output to a terminal that can be closed while training continues."""

import errno
import io
import sys


class _Terminal(io.FileIO):
    """A terminal to which nothing is written any more after it was closed."""

    def write(self, data: bytes) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return len(data)


def survive_closed_terminal() -> None:
    """Makes output to a terminal that was closed have no effect, instead of raising an `OSError`.

    Otherwise the next line of the progress would end a run whose terminal was closed. Standard
    streams that are no terminals do not change.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty():
            stream.flush()
            raw = _Terminal(stream.fileno(), "w", closefd=False)
            wrapper = io.TextIOWrapper(
                io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True
            )
            setattr(sys, name, wrapper)
