import os

import pytest

from utils import cores as cores_module
from utils.cores import logical_cores, physical_cores

CPU = "processor: {}\nphysical id: {}\ncore id: {}\n\n"


@pytest.mark.parametrize(
    ("cores", "usable", "quota", "physical", "logical"),
    [
        (
            [(0, 0), (0, 1), (0, 0), (0, 1)],
            {0, 1, 2, 3},
            "max 100000",
            2,
            4,
        ),  # two threads each
        ([(0, 0), (0, 1), (0, 0), (0, 1)], {0, 2}, "max 100000", 1, 2),
        ([(0, 0), (1, 0)], {0, 1}, "max 100000", 2, 2),  # two sockets
        ([(0, 0), (0, 1)], {0, 1}, "50000 100000", 1, 1),
        ([(0, core) for core in range(8)], set(range(8)), "250000 100000", 3, 3),
        ([], {0, 1, 2, 3}, None, 4, 4),  # ARM
    ],
)
def test_cores(cores, usable, quota, physical, logical, tmp_path, monkeypatch):
    info, limit = tmp_path / "cpuinfo", tmp_path / "cpu.max"
    info.write_text("".join(CPU.format(index, *core) for index, core in enumerate(cores)))
    if quota:
        limit.write_text(quota)
    monkeypatch.setattr(cores_module, "CPU_INFO", info)
    monkeypatch.setattr(cores_module, "CPU_QUOTA", limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: usable)
    assert (physical_cores(), logical_cores()) == (physical, logical)
