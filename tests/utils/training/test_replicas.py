import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters import free_addresses, tf_config
from tests.vocset import add_image, add_list

ROOT = Path(__file__).parents[3]


def test_one_step_is_equal_on_one_and_two_devices(tmp_path):
    objects = [("cat", (8, 8, 40, 50)), ("dog", (50, 10, 70, 30)), ("cat", (60, 35, 78, 58))]
    add_image(tmp_path / "VOC2007", "one", objects[:1])
    add_image(tmp_path / "VOC2007", "three", objects)
    command = [sys.executable, "-m", "tests.replicas", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["replicas"] == 2
    for step in (found["clipped"], found["unclipped"]):
        one, two = step["moved"]
        assert two == pytest.approx(one, rel=1e-2)
        assert step["apart"] < 0.02 * one
    # Nesterov momentum makes the first step 1.937 times the gradient, clipped to 0.01.
    assert found["clipped"]["moved"][0] == pytest.approx(0.01937, rel=1e-2)
    assert found["unclipped"]["moved"][0] > 0.1
    assert found["skipped"] == {"flag": 1.0, "changed": 0}  # on both devices


@pytest.mark.slow
def test_two_workers_train_like_one_and_write_one_run(tmp_path):
    voc = tmp_path / "VOC2007"
    names = [f"image{number}" for number in range(10)]
    for number, name in enumerate(names):
        add_image(voc, name, [(("cat", "dog")[number % 2], (8, 8, 40 + number, 50))])
    add_list(voc, "train", names[:8])
    add_list(voc, "val", names[8:])
    flags = ["--data", tmp_path, "--backbone", "mobilenetv1", "--width", "0.25", "--epochs", "2"]
    flags += ["--input-size", "64", "--batch-size", "4", "--weights", "none"]
    flags += ["--precision", "float32"]
    workers = free_addresses(2)

    def start(run, *more, **environment):
        command = [sys.executable, "train.py", "--run", tmp_path / run, *flags, *more]
        return subprocess.Popen(
            [*map(str, command)], cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL
        )

    both = [
        start("both", "--strategy", "multiworker", TF_CONFIG=tf_config(index, worker=workers))
        for index in range(2)
    ]
    for process in (*both, start("alone")):
        try:
            assert process.wait(timeout=300) == 0
        finally:
            process.kill()
    losses = []
    for run in ("both", "alone"):
        with (tmp_path / run / "history.csv").open(newline="") as file:
            losses.append([float(row["loss"]) for row in csv.DictReader(file)])
    assert len(losses[0]) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert json.loads((tmp_path / "both" / "result.json").read_text())["epochs"] == 2
