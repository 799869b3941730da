import os
import shutil
import subprocess
import sys
import threading

import pytest

from benchmarks.one_core_runs import cost, run_on_cores
from utils import cores as cores_module
from utils.config import Recipe


def test_no_more_jobs_run_at_a_time_than_the_quota_allows(tmp_path, monkeypatch):
    quota = tmp_path / "cpu.max"
    quota.write_text("200000 100000")
    monkeypatch.setattr(cores_module, "CPU_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5, 6, 7})
    both = threading.Barrier(2, timeout=20)

    def run(job, core):
        both.wait()  # two run at the same time
        return job, core

    found = run_on_cores(run, range(6), "job")
    assert [job for job, _ in found] == [*range(6)]
    assert {core for _, core in found} == {4, 5}


CHILD = "import signal; print('ready', flush=True); signal.pause()"
PARENT = f"""
import subprocess, sys
from benchmarks.one_core_runs import child_command
subprocess.run(child_command([sys.executable, "-c", {CHILD!r}], core=int(sys.argv[1])))
"""


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv of util-linux is not installed")
def test_a_training_ends_with_its_benchmark():
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", PARENT, str(core)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        # The child has the same output, which ends when both have ended.
        assert parent.stdout.read() == ""


def test_cost_of_a_recipe_is_relative_to_full_size_without_a_frozen_backbone():
    assert cost(Recipe(freeze_share=0.0), (640, 640)) == pytest.approx(1.0)
    # A fifth of the run is frozen and takes 0.7, and for a half, images have a quarter of the area.
    recipe = Recipe(freeze_share=0.2, small_share=0.5, small_scale=0.5)
    assert cost(recipe, (640, 640)) == pytest.approx(0.2 * 0.7 / 4 + 0.3 / 4 + 0.5)
