"""Keeps two processes from training in one run directory."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from utils.file_lock import file_locked
from utils.files import LOCK


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Holds the lock of a run directory inside a `with` block.

    Since a lock is never stale, there is no need to check the process ID, which another process can
    reuse. The file only describes the holder. A file that nobody has locked was left by a process
    that was killed.

    The folder is created if it does not exist, and is removed at the end if it is still empty.

    Yields:
        Whether the last process in this folder was killed.

    Raises:
        UserError: Another process holds the lock; the folder has not changed.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    earlier = []

    def describe_holder(descriptor: int) -> None:
        earlier.append(os.read(descriptor, 1000).decode(errors="replace"))
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.truncate(descriptor, 0)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = f"process {os.getpid()} on {socket.gethostname()} (started {started})"
        os.write(descriptor, holder.encode())

    def in_use() -> str:
        return f"{folder} is in use by {_holder(path)}, wait until it ends or choose another run"

    use = "trains in this folder"
    try:
        with file_locked(path, folder, in_use, use, on_acquired=describe_holder):
            was_killed = bool(earlier and earlier[0])
            if was_killed:
                note = f"note: taking over {folder} from {earlier[0]}, which was killed"
                print(note, file=sys.stderr)
            yield was_killed
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it has files, or another process has removed it
                folder.rmdir()


def _holder(path: Path) -> str:
    """Returns the description of the holder, which it writes just after it has locked the file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") or "another process"
    except OSError:  # on Windows, a locked file cannot be read; elsewhere, it was just released
        return "another process"
