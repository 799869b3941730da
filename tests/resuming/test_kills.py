"""Runs that are killed again and again end as if they had never been killed."""

import csv
import json
import random
import re
import shutil

import h5py
import numpy as np
import pytest

from tests.killed_run import Kill, train_in_a_process
from tests.vocset import add_image, add_list
from utils.run import RunDirectory

FLAGS = [
    *("--backbone", "mobilenetv1", "--width", "0.25", "--yolo", "v4-tiny", "--input-size", "64"),
    *("--batch-size", "2", "--epochs", "6", "--weights", "none", "--precision", "float32"),
    *("--save-minutes", "1e-9"),  # after every step
]
MEASURED = ("images_per_second", "train_seconds")  # these depend on the clock


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Data, and a run that was not killed."""
    folder = tmp_path_factory.mktemp("kills")
    voc = folder / "VOCdevkit" / "VOC2007"
    for number in range(6):
        add_image(voc, f"image{number}", [(("cat", "dog")[number % 2], (8, 8, 60, 50))])
    for name, numbers in (("train", range(4)), ("val", (4, 5))):
        add_list(voc, name, [f"image{number}" for number in numbers])
    argv = ["--data", voc.parent, "--run", folder / "whole", *FLAGS]
    assert not train_in_a_process(argv, folder / "whole.log")
    return folder


def result_of(run):
    """Everything that a run computes: weights, state, history, result."""
    result = {}
    with h5py.File(run.best_weights) as file:
        file.visititems(
            lambda name, item: result.update({name: item[()]} if hasattr(item, "shape") else {})
        )
    with np.load(run.state) as state:
        result |= {key: state[key] for key in state.files if key != "progress"}
    with (run.path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    result["history"] = [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]
    document = json.loads(run.result.read_text())
    result["result"] = {key: value for key, value in document.items() if key not in MEASURED}
    return result


def random_kill(rng):
    """Kills after a step, or while a state, weights or the history are being written."""
    steps, delay = rng.randint(1, 4), rng.choice([0, rng.uniform(0, 0.02)])
    return Kill(steps, rng.choice([0, rng.randint(1, 8)]), delay)


def kill_again_and_again(folder, kills, seed):
    """Kills a run at random moments and resumes it; starts another one when it is complete."""
    rng, killed = random.Random(seed), 0
    expected = result_of(RunDirectory(folder / "whole"))
    run, log = RunDirectory(folder / f"killed{seed}"), folder / f"killed{seed}.log"
    while killed < kills:
        shutil.rmtree(run.path, ignore_errors=True)
        argv = ["--data", folder / "VOCdevkit", "--run", run.path, *FLAGS]
        done = 0
        while train_in_a_process(argv, log, random_kill(rng) if killed < kills else None):
            killed += 1
            text = log.read_text()
            started = re.findall(r"resuming .* at step (\d+)", text)
            if argv[0] == "--resume":
                assert started and int(started[-1]) >= done - 1, "more than one step was lost"
            done = int((re.findall(r"done (\d+)", text) or [0])[-1])
            log.unlink()
            if run.is_described:
                argv = ["--resume", run.path]
        found = result_of(run)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
        assert not list(run.path.glob(".part*")), "left by a kill"
        log.unlink()


@pytest.mark.parametrize(
    ("kills", "seed"),
    [(3, 0), *(pytest.param(20, seed, marks=pytest.mark.slow) for seed in range(1, 11))],
)
def test_killed_runs_end_as_if_they_had_never_been_killed(whole, kills, seed):
    kill_again_and_again(whole, kills, seed)
