"""Limits the memory that a block takes, that of libraries in C included."""

import contextlib
import os
import warnings
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
CAN_RESET = os.access(CLEAR, os.W_OK)  # only on Linux, and not in every container


@contextlib.contextmanager
def memory_limit(most):
    """Fails if the memory of the process grows by more than `most` bytes within the block."""
    if not CAN_RESET:
        warnings.warn(f"memory is not checked, since {CLEAR} cannot be written", stacklevel=3)
        yield
        return
    CLEAR.write_text("5")  # otherwise the peak would be that of all earlier tests
    before = _status("VmRSS")
    yield
    grown = _status("VmHWM") - before
    assert grown < most, f"takes {grown / 2**20:.0f} MiB"


def _status(name):
    """Returns a number of bytes of the process: the memory, or its peak."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])
