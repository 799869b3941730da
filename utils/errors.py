"""The errors that are reported to the user in one line, and those of a disk."""

import errno
import os
import re
from collections.abc import Iterator

# A job that worked so far fails with these, however correct its input and flags are.
DISK_FAILURES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})

# How libraries in C, C++ and Rust put the number of an error into the text of another exception.
NUMBER_IN_TEXT = re.compile(r"\berrno = (\d+)|\(os error (\d+)\)")


class UserError(Exception):
    """A usage or input error. The message says what is wrong and how to fix it. Exit code 2."""


class JobError(Exception):
    """A job that started and then failed, for example because a loss became NaN. Exit code 1."""


def disk_failure(error: BaseException) -> int | None:
    """Finds out whether a full or failing disk caused an exception of any type.

    Args:
        error: The exception. h5py, safetensors and TensorFlow name the cause in its text only.

    Returns:
        One of `DISK_FAILURES`, or None if there was another cause.
    """
    return next((number for number in _error_numbers(error) if number in DISK_FAILURES), None)


def _error_numbers(error: BaseException | None) -> Iterator[int]:
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            yield error.errno
        text = str(error)
        for groups in NUMBER_IN_TEXT.findall(text):
            yield int("".join(groups))
        yield from (number for number in DISK_FAILURES if os.strerror(number) in text)
        error = error.__cause__ or error.__context__
