"""Standard streams: closed by the caller, not writable any more, or to be silenced."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from utils.text import one_line


def open_closed_streams() -> None:
    """Connects standard streams that are closed to the null device.

    Python sets `sys.stdin`, `sys.stdout` or `sys.stderr` to None if the shell closed it, as with
    `>&-`. The next file that is opened would get its descriptor, and what C libraries print would
    end up in that file.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:  # the lowest free descriptor comes first
        os.set_inheritable(descriptor, True)  # like the streams that child processes expect
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def accept_any_file_name() -> None:
    """Lets file names that are not UTF-8 be printed and read.

    Python represents their bytes as lone surrogates.
    """
    for stream, errors in ((sys.stdout, "backslashreplace"), (sys.stdin, "surrogateescape")):
        if isinstance(stream, io.TextIOWrapper):  # Python code that calls a script may replace it
            stream.reconfigure(errors=errors)


def drop_unwritable_output() -> None:
    """Discards output that cannot be written, so that Python does not fail again at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as null:
                os.dup2(null.fileno(), stream.fileno())


def print_error(message: str) -> None:
    """Prints a message on standard error, in one line, if that can be written."""
    with contextlib.suppress(OSError):  # the exit code still reports the error
        print(one_line(message), file=sys.stderr)
    drop_unwritable_output()


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Discards what the block writes to standard error, also by C libraries.

    For libraries whose messages none of their settings can suppress.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
