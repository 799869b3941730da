"""Workers in processes of their own, which are connected through the loopback of this machine."""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.clusters import free_addresses, tf_config
from tests.loopback import write_images

ROOT = Path(__file__).parents[3]
TIMEOUT = 240  # seconds for all workers; a machine that is busy needs a minute


@dataclass
class Ended:
    """How a worker ended."""

    code: int
    found: dict
    errors: list[str]


def run_workers(folder, steps, count, *flags, frozen=None, **flags_of) -> list[Ended]:
    """Runs workers until all have ended.

    Args:
        folder: The images, and the run.
        steps: Steps to train.
        count: Number of workers.
        flags: Flags of all workers.
        frozen: The worker that is killed after all others have ended; None for none.
        flags_of: Flags of single workers, by `worker0`, `worker1` and so on.
    """
    addresses = free_addresses(count)
    with contextlib.ExitStack() as stack:
        workers = []
        for index in range(count):
            own = flags_of.get(f"worker{index}", ())
            command = [sys.executable, "-m", "tests.loopback", folder, steps, *flags, *own]
            worker = subprocess.Popen(
                [*map(str, command)],
                cwd=ROOT,
                env=os.environ | {"TF_CONFIG": tf_config(index, worker=addresses)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(worker.kill)
            workers.append(worker)
        if frozen is None:
            return [*map(_ended, workers)]
        left = [_ended(worker) for index, worker in enumerate(workers) if index != frozen]
        workers[frozen].kill()
        left.insert(frozen, _ended(workers[frozen]))
        return left


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


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("count", [2, 4])
def test_workers_train_like_one_process(folder, count, optimizer):
    (alone,) = run_workers(folder, 20, 1, "--optimizer", optimizer)
    workers = run_workers(folder, 20, count, "--optimizer", optimizer)
    assert [worker.code for worker in (alone, *workers)] == [0] * (1 + count)
    assert all(worker.found == workers[0].found for worker in workers)
    assert workers[0].found["step"] == 20
    with np.load(folder / "1.npz") as one, np.load(folder / f"{count}.npz") as several:
        assert any(np.abs(one[name]).max() > 0.01 for name in one.files)
        for name in one.files:
            np.testing.assert_allclose(several[name], one[name], rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("what", ["kill", "freeze"])
def test_lost_worker_ends_the_other_and_the_run_can_be_continued(folder, tmp_path, lost, what):
    left = 1 - lost
    flags = {f"worker{lost}": ["--signal", what, "--at", 7]}
    ended = run_workers(folder, 20, 2, frozen=lost, **flags)
    assert ended[left].code == 1
    assert len(ended[left].errors) == 1
    assert f"worker {lost} of 2 (localhost:" in ended[left].errors[0]
    assert "was lost" in ended[left].errors[0] and "--resume" in ended[left].errors[0]
    resumed = run_workers(folder, 20, 2, "--resume")
    assert [worker.code for worker in resumed] == [0, 0]
    assert resumed[0].found == resumed[1].found

    other = tmp_path / "other"
    write_images(other)
    assert run_workers(other, 20, 2)[0].found == resumed[0].found
