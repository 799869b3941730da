"""Output to a terminal or a pipe that can be closed while a job continues."""

import errno
import io
import os
import stat
import sys
from typing import TextIO

CLOSED = (errno.EIO, errno.EPIPE)  # of a terminal, and of a pipe whose reader has exited


class _Output(io.FileIO):
    """A file to which nothing is written any more after its other end was closed."""

    def write(self, data: bytes) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in CLOSED:
                raise
            return len(data)


def survive_closed_terminal() -> None:
    """Makes output to a terminal that was closed have no effect, instead of raising an `OSError`.

    Otherwise the next line of the progress would end a run whose terminal was closed. The same
    holds for standard error if it is a pipe, as in `train.py 2>&1 | head`. Other streams do not
    change.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and (stream.isatty() or (name == "stderr" and _is_pipe(stream))):
            stream.flush()
            raw = _Output(stream.fileno(), "w", closefd=False)
            wrapper = io.TextIOWrapper(
                io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True
            )
            setattr(sys, name, wrapper)


def _is_pipe(stream: TextIO) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except io.UnsupportedOperation:  # not a file
        return False
