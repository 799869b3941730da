import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import recipe_search
from benchmarks.data_sets import DataSet
from benchmarks.recipe_search import Job, build_parser, run_job
from utils.errors import JobError


def test_a_run_that_hangs_is_an_error_that_names_it(tmp_path, monkeypatch):
    def hang(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    # TensorFlow, which is imported on the way, also starts processes.
    own = SimpleNamespace(run=hang, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(recipe_search, "subprocess", own)
    flags = ["bccd=data@256", "--weights", "none", "--out", str(tmp_path)]
    job = Job("batch 4", DataSet("bccd", Path("data"), "256"), seed=1)
    with pytest.raises(JobError, match=r"batch 4 on bccd, seed 1: not done after 2 hours"):
        run_job(build_parser().parse_args(flags), job, core=0)
