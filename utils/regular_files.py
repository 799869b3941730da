"""Reads regular files only: reading a pipe or a device could take forever."""

import os
import stat
from pathlib import Path

from utils.errors import UserError

# Windows has no pipes in folders, and translates line breaks unless told not to.
NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

SPECIAL_FILES = {
    stat.S_ISDIR: "folder",
    stat.S_ISFIFO: "named pipe",
    stat.S_ISSOCK: "socket",
    stat.S_ISCHR: "device",
    stat.S_ISBLK: "device",
}


def check_regular(path: Path) -> None:
    """Checks that a path is a regular file: reading a pipe or a device could take forever.

    Raises:
        UserError: It is something else.
        OSError: There is no such path, or it is not accessible.
    """
    _check_mode(path, path.stat().st_mode)


def read_regular(path: Path, most: int) -> bytes:
    """Reads a regular file that is not too large.

    Of hundreds of thousands of small files, threads read twice as many per second as with
    `check_regular` and `Path.read_bytes`, since they wait for Python's lock after every call.

    Args:
        path: The file.
        most: The largest number of bytes.

    Raises:
        UserError: It is not a regular file, or larger.
        OSError: There is no such path, or it is not accessible.
    """
    try:  # opening a pipe would otherwise wait for a writer
        file = os.open(path, os.O_RDONLY | NO_WAITING)
    except OSError:
        check_regular(path)  # sockets and some devices cannot be opened
        raise
    try:
        status = os.fstat(file)
        _check_mode(path, status.st_mode)
        if status.st_size > most:
            raise UserError(f"cannot read {path}: it has more than {most:,} bytes; remove it")
        parts = []
        missing = status.st_size
        while missing > 0 and (part := os.read(file, missing)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)
    finally:
        os.close(file)


def _check_mode(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in SPECIAL_FILES.items() if test(mode)), "special file")
        raise UserError(f"cannot read {path}: it is a {kind}, specify a regular file")
