"""Files and folders that are being written, and which of them a killed process left behind."""

import contextlib
import os
import platform
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from utils.errors import UserError

MAX_NAME_BYTES = 255  # of a file name, on most file systems
PART = ".part"  # prefix of files that are being written
ABANDONED = 24 * 3600.0  # seconds without a change


def is_part(path: Path) -> bool:
    """Whether a file or folder is being written, or was left behind by a killed process."""
    return path.name.startswith(f"{PART}.")


def part_of(path: Path, shared: bool = False) -> Path:
    """Returns the hidden path beside `path` to write to, with the end of the same name.

    The end is that of `path`, since many writers choose the format by it.

    Args:
        path: The final path.
        shared: Whether the name contains the machine and the process, so that others can write the
            same path at the same time.

    Raises:
        UserError: The path has no name, as `.` has none.
    """
    if not path.name:
        raise UserError(f"cannot replace {path}: name a new file or folder")
    prefix = f"{PART}.{platform.node()}.{os.getpid()}" if shared else PART
    whole, short = _ends(path)
    fits = len(os.fsencode(prefix + whole)) <= MAX_NAME_BYTES
    return path.with_name(prefix + (whole if fits else short))


def remove_dead(path: Path) -> None:
    """Removes what killed processes left of a path that processes share.

    A part of this machine is removed if its process no longer exists. Other machines cannot be
    asked, so their parts are removed once they have not changed for a day, which no writer takes
    between two files. Containers usually have host names of their own and count as machines.
    """
    for part in path.parent.glob(f"{PART}.*"):
        end = next((end for end in _ends(path) if part.name.endswith(end)), None)
        if end is None:
            continue
        host, _, process = part.name[len(PART) + 1 : -len(end)].rpartition(".")
        if host and process.isdecimal() and _is_dead(part, host, int(process)):
            with contextlib.suppress(OSError):  # of another user, or another process removes it
                remove(part)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder, the part of a path that nothing is moved to.

    It is removed at the end of the block; after a kill, by the next call for the same path.

    Args:
        path: A path in an existing folder.

    Raises:
        OSError: The folder cannot be created.
    """
    folder = part_of(path, shared=True)
    remove(folder)
    remove_dead(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def remove(path: Path) -> None:
    """Removes a file or folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
        return
    # If there is no such folder, writing the path reports it.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def _ends(path: Path) -> tuple[str, str]:
    """Returns the end of the names of the parts of a path, and one for names that are too long."""
    digest = zlib.crc32(os.fsencode(path.name))
    return f".{path.name}", f".{digest:08x}.{path.name[-MAX_NAME_BYTES // 8 :]}"


def _is_dead(part: Path, host: str, process: int) -> bool:
    if host == platform.node() and os.name == "posix":  # on Windows, signal 0 is Ctrl-C
        return not _exists(process)
    try:
        return time.time() - part.lstat().st_mtime > ABANDONED
    except FileNotFoundError:  # another process has just moved it
        return False


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing, but fails if there is no such process
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True
