"""Keeps two processes from training in one run directory."""

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from utils.errors import UserError
from utils.files import LOCK

# What a file system without locks returns, such as some network and FUSE file systems.
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Holds the lock of a run directory inside a `with` block.

    The operating system holds the lock and releases it when the process ends, however it ends. On
    shared storage, the server does this for a machine that is lost. So a lock is never stale, and
    there is no need to check the process ID, which another process can reuse. The file only
    describes the holder. A file that nobody has locked was left by a process that was killed.

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

    # A lock made of a file alone, to which the package can fall back, would stay after a crash.
    lock = filelock.FileLock(
        path, blocking=False, fallback_to_soft=False, on_acquired=describe_holder
    )
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(
            f"{folder} is in use by {_holder(path)}, wait until it ends or choose another run"
        ) from error
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            error.filename = error.filename or str(path)
            raise
        print(
            f"warning: the file system of {folder} has no locks ({os.strerror(error.errno)}), "
            "make sure that no other process trains in this folder",
            file=sys.stderr,
        )
    was_killed = bool(earlier and earlier[0])
    if was_killed:
        print(f"note: taking over {folder} from {earlier[0]}, which was killed", file=sys.stderr)
    try:
        yield was_killed
    finally:
        path.unlink(missing_ok=True)  # before the release, since another process may lock it then
        lock.release()
        if is_new:
            with contextlib.suppress(OSError):  # it has files, or another process has removed it
                folder.rmdir()


def _holder(path: Path) -> str:
    """Returns the description of the holder, which it writes just after it has locked the file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") or "another process"
    except OSError:  # on Windows, a locked file cannot be read; elsewhere, it was just released
        return "another process"
