"""Workers in processes of their own, which are connected through the loopback of this machine."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.loopback import write_images

ROOT = Path(__file__).parents[3]
TIMEOUT = 240  # seconds for all workers; a machine that is busy needs a minute


@dataclass
class Ended:
    """How a worker ended."""

    code: int
    found: dict
    errors: list[str]


def free_ports(count: int) -> list[int]:
    """Returns ports that nothing listens at."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def run_workers(folder, steps, count, *flags, only=None, **flags_of) -> list[Ended]:
    """Runs workers until all have ended.

    Args:
        folder: The images, and the run.
        steps: Steps to train.
        count: Number of workers.
        flags: Flags of all workers.
        flags_of: Flags of single workers, by `worker0`, `worker1` and so on.
    """
    addresses = [f"localhost:{port}" for port in free_ports(count)]
    with contextlib.ExitStack() as stack:
        workers = []
        for index in range(count):
            task = {"type": "worker", "index": index}
            cluster = {"cluster": {"worker": addresses}, "task": task}
            own = flags_of.get(f"worker{index}", ())
            command = [sys.executable, "-m", "tests.loopback", folder, steps, *flags, *own]
            worker = subprocess.Popen(
                [*map(str, command)],
                cwd=ROOT,
                env=os.environ | {"TF_CONFIG": json.dumps(cluster)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(worker.kill)
            workers.append(worker)
        return [_ended(worker) for worker in workers]


def _ended(worker: subprocess.Popen) -> Ended:
    out, errors = worker.communicate(timeout=TIMEOUT)
    lines = out.splitlines()
    ours = [line for line in errors.splitlines() if line.startswith(("error", "interrupted"))]
    return Ended(worker.returncode, json.loads(lines[-1]) if lines else {}, ours)


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path)
    return tmp_path


def test_signal_to_one_worker_stops_both_at_the_same_step(folder):
    chief, other = run_workers(folder, 20, 2, worker1=["--signal", "terminate", "--at", "3"])
    assert (chief.code, other.code) == (130, 130)
    assert chief.errors == other.errors == ["interrupted"]
    assert chief.found == other.found  # the step and all weights, bit by bit
    assert chief.found["step"] == 4
    with np.load(folder / "run" / "last.npz") as state:
        assert json.loads(str(state["progress"]))["step"] == 4
    assert sorted(path.name for path in (folder / "run").iterdir()) == ["last.npz", "previous.npz"]
