"""The processor cores that this process may use.

A container may be limited to fewer cores than the machine has, by a set of cores or by a quota.
"""

import math
import os
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds per period, or "max"


def logical_cores() -> int:
    """Returns the number of cores, at least 1; two threads of one core count as two."""
    return _within_quota(len(_usable()))


def physical_cores() -> int:
    """Returns the number of physical cores, at least 1.

    Two threads of one core share its vector units, so a second one only slows down the first.
    """
    cores = _cores_of(CPU_INFO.read_text(errors="replace")) if CPU_INFO.exists() else {}
    return _within_quota(len({cores.get(processor, processor) for processor in _usable()}))


def _usable() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _within_quota(count: int) -> int:
    quota, _, period = (CPU_QUOTA.read_text() if CPU_QUOTA.exists() else "max").partition(" ")
    return count if quota.strip() == "max" else min(count, math.ceil(int(quota) / int(period)))


def _cores_of(cpu_info: str) -> dict[int, tuple[str, str]]:
    """Returns socket and core by the number of the processor; ARM states neither."""
    cores = {}
    for block in cpu_info.split("\n\n"):
        facts = dict(line.partition(":")[::2] for line in block.splitlines())
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        if facts.get("processor", "").isdigit() and "core id" in facts:
            cores[int(facts["processor"])] = facts.get("physical id", ""), facts["core id"]
    return cores
