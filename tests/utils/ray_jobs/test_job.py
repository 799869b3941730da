"""How a job is divided among the machines of a cluster, without Ray."""

from pathlib import Path

import pytest

from utils.inference.thresholds import Thresholds
from utils.models import ModelSource
from utils.ray_jobs.job import _share
from utils.ray_jobs.worker import Prediction, WorkerSettings


def share(model, *machines):
    """Returns the resources of a worker and their number, for machines of (CPUs, GPUs)."""
    nodes = [
        {"Alive": True, "Resources": {"memory": 1e9, "CPU": float(cpus), "GPU": float(gpus)}}
        for cpus, gpus in machines
    ]
    nodes += [{"Alive": False, "Resources": {"CPU": 64.0}}, {"Alive": True, "Resources": {}}]
    settings = WorkerSettings(Path(), Path("out"), model, "", Prediction(Thresholds()))
    return _share(nodes, settings)


@pytest.mark.parametrize(
    ("threads", "expected"),
    [(None, (1, 7)), (1, (1, 7)), (2, (2, 3)), (3, (3, 2)), (4, (4, 1)), (5, (4, 1))],
)
def test_worker_fits_on_one_machine(threads, expected):
    exported = ModelSource(model=Path("m.onnx"), threads=threads)
    resources, count = share(exported, (4, 0), (3, 0))
    assert (resources, count) == ({"num_cpus": expected[0]}, expected[1])


def test_run_has_one_worker_per_gpu():
    machines = (8, 2), (4, 0), (2, 1)
    assert share(ModelSource(run=Path("run")), *machines) == ({"num_cpus": 1, "num_gpus": 1}, 3)
    assert share(ModelSource(model=Path("m.onnx")), *machines) == ({"num_cpus": 1}, 14)


def test_cluster_without_processors_waits_for_one():
    assert share(ModelSource(run=Path("run"))) == ({"num_cpus": 1}, 1)
