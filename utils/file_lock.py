"""Keeps other processes from writing the same files, by a lock of the operating system."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from utils.errors import UserError

# What a file system without locks returns, such as some network and FUSE file systems.
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)


@contextlib.contextmanager
def file_locked(
    lock_path: Path,
    guarded: Path,
    in_use: Callable[[], str],
    use: str,
    on_acquired: Callable[[int], None] | None = None,
) -> Iterator[None]:
    """Holds a lock inside a `with` block, or warns where the file system has no locks.

    The operating system holds the lock and releases it when the process ends, however it ends. On
    shared storage, the server does this for a machine that is lost. So a lock is never stale.

    Args:
        lock_path: The file that is locked; removed at the end.
        guarded: What the lock protects, for messages.
        in_use: Returns the error message if another process holds the lock.
        use: What no other process may do, for the warning, such as "writes this file".
        on_acquired: Called with the descriptor of the file once it is locked.

    Raises:
        UserError: Another process holds the lock.
        OSError: The file cannot be created; the error names it.
    """
    # A lock made of a file alone, to which the package can fall back, would stay after a crash.
    lock = filelock.FileLock(
        lock_path, blocking=False, fallback_to_soft=False, on_acquired=on_acquired
    )
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(in_use()) from error
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            error.filename = error.filename or str(lock_path)
            raise
        print(
            f"warning: the file system of {guarded} has no locks ({os.strerror(error.errno)}), "
            f"make sure that no other process {use}",
            file=sys.stderr,
        )
    try:
        yield
    finally:
        lock_path.unlink(missing_ok=True)  # before the release: another process may lock it then
        lock.release()
