"""GET /runs: which files it reads, and what becomes of damaged ones."""

import os

import pytest

from utils.run import RunDirectory
from utils.serving.run_curves import MAX_RUNS, read_curves

ROWS = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": float("nan"), "map50": 0.25, "lr": 1e-3}]


def add_run(path, rows=ROWS, age=0):
    path.mkdir(parents=True, exist_ok=True)
    RunDirectory(path).write_history(rows)
    os.utime(path / "history.csv", (1e9 - age, 1e9 - age))


def test_curves_are_those_that_training_wrote(serve, tmp_path):
    add_run(tmp_path / "b", age=5)
    add_run(tmp_path / "sweep" / "<b>&", [{"epoch": 1, "val_loss": 1.0}])
    document = serve(logs=tmp_path).get("/runs").json()
    assert document == {
        "runs": [
            {"name": "sweep/<b>&", "columns": {"epoch": [1], "val_loss": [1]}},
            {
                "name": "b",
                "columns": {"epoch": [1, 2], "loss": [2.5, None], "map50": [None, 0.25]},
            },
        ],
        "faults": [],
        "total": 2,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "restore"),
        ("loss\n1\n", "no column 'epoch'"),
        ("epoch,loss\n1\n", "restore"),
        ("epoch,loss\n1,x\n", "'x'"),
        ("epoch,loss\n,1\n", "has no epoch"),
        ("epoch\n1\n" * 2**21, "not a history"),
    ],
    ids=["empty", "epoch", "cells", "number", "row", "large"],
)
def test_damaged_history_is_reported(tmp_path, text, words):
    add_run(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "history.csv").write_text(text)
    document = read_curves(tmp_path)
    assert [run["name"] for run in document["runs"]] == ["good"]
    (fault,) = document["faults"]
    assert words in fault and "bad" in fault


def test_only_histories_are_read(tmp_path):
    (tmp_path / "run" / "history.csv").mkdir(parents=True)  # not a file
    (tmp_path / "run" / "secret.csv").write_text("epoch\n1\n")
    document = read_curves(tmp_path)
    assert document["runs"] == []
    (fault,) = document["faults"]
    assert "is not a history" in fault


def test_run_without_epochs_and_folder_without_runs(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "history.csv").write_text("epoch,loss\n")
    assert read_curves(tmp_path)["runs"] == [{"name": "new", "columns": {"epoch": [], "loss": []}}]
    assert read_curves(tmp_path / "none") == {"runs": [], "faults": [], "total": 0}


def test_the_newest_runs_are_shown(tmp_path):
    for age in range(MAX_RUNS + 1):
        add_run(tmp_path / f"run{age:03d}", ROWS[:1], age)
    document = read_curves(tmp_path)
    assert document["total"] == MAX_RUNS + 1
    assert [run["name"] for run in document["runs"]] == [f"run{i:03d}" for i in range(MAX_RUNS)]
