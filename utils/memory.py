"""How much memory this process can and may use, and when Python looks for garbage."""

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from threading import RLock

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # version 2: the limit of a container
PAGES = Path("/proc/self/statm")
_limiting = RLock()


def available_memory() -> int | None:
    """Returns the bytes that are available without swapping; None if the system does not say."""
    known = [each for each in (_of_machine(), _of_container()) if each is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    if not MEMINFO.is_file():  # not Linux
        return None
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return 1024 * int(fields["MemAvailable"].split()[0])


def _of_container() -> int | None:
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if not (limit.is_file() and used.is_file()) or (most := limit.read_text().strip()) == "max":
        return None
    stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    # Cached files count as used, but are dropped when memory is needed.
    return max(0, int(most) - int(used.read_text()) + int(stat.get("inactive_file", 0)))


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Does not look for reference cycles inside a `with` block.

    Whoever creates millions of objects that stay would otherwise have them searched again and
    again. Objects without cycles are freed as always.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def limited_memory(most: int) -> Iterator[None]:
    """Lets the process reserve no more than `most` further bytes within a `with` block.

    For native code that trusts the sizes in a file: it fails with an error, and the machine stays
    usable. The limit holds for all threads, so use it only where none of them needs much memory. It
    has no effect on systems other than Linux.
    """
    if not PAGES.is_file():
        yield
        return
    import resource

    with _limiting:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        reserved = int(PAGES.read_text().split()[0]) * resource.getpagesize()
        wanted = reserved + most
        if soft == resource.RLIM_INFINITY or wanted < soft:
            resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
