"""The flags of export.py --check, with a run and an exported file of a fake runtime."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import export
import utils.run
from nets.versions import VERSIONS
from tests.fake_runtime import RedSession, install, make_metadata
from tests.red_finder import RedFinder, picture
from tests.vocset import add_image, add_list
from utils.inference.engines.session import RuntimeSettings
from utils.inference.thresholds import Thresholds
from utils.run import Run, RunDirectory


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    """A run with a fake detector that was validated on one image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("utils.export.check.digest_of", lambda detector: "1")
    config = SimpleNamespace(
        resize="letterbox", data=None, input_size=(64, 96), yolo=VERSIONS["v4"]
    )
    made = Run(Path("run"), config, ["红/red"], RedFinder())
    monkeypatch.setattr(utils.run, "load_run", lambda path: made)
    Path("run/export").mkdir(parents=True)
    Path("run/export/.part.1.m.onnx").touch()  # of an export that was killed
    Path("run/best.weights.h5").write_bytes(bytes(2000))
    RunDirectory(made.path).write_images({"train": ["VOC2007/a"], "val": ["VOC2007/a"]})
    voc = Path("data/VOC2007")
    add_image(voc, "a", [("红/red", (32, 16, 64, 48))], image=picture(64, 96, (32, 16, 64, 48)))
    add_list(voc, "trainval", ["a"])
    return made


@pytest.fixture
def check(run_script):
    """Runs export.py on the run, see `run_script`."""
    return partial(run_script, export, "--run", "run", "--data", "data")


@pytest.fixture
def model(monkeypatch):
    """The exported file of the run, with a network in Keras that finds the same."""
    monkeypatch.setattr(
        "utils.export.check.KerasSession",
        lambda detector, batch=1: RedSession(make_metadata(), RuntimeSettings(batch)),
    )
    return install(monkeypatch, Path("run/export/m.onnx"), weights="1")


def test_table_compares_every_file_with_keras(check, model):
    Path("run/export/.part.1.m.onnx").write_text("of an export that was killed")
    code, out, err = check("--check")
    assert code == 0
    header, keras, file = out.splitlines()
    assert header.startswith("file  ")
    assert keras.split()[:3] == ["run", "keras", "float32"]
    assert file.split()[:3] == ["m.onnx", "onnx", "float32"]
    assert file.split()[4:10] == ["0", "0", "1.0000", "1.0000", "0.0000", "0.0000"]
    assert "note: run/export/m.onnx: red finder, 2 threads, float32" in err
    assert "warning" not in err


def test_suppression_inside_is_compared_at_its_own_thresholds(check, monkeypatch, model):
    thresholds = Thresholds(confidence=0.95)  # above all scores
    install(monkeypatch, Path("run/export/m.onnx"), weights="1", nms=True, thresholds=thresholds)
    code, out, err = check("--check")
    assert code == 0
    keras, file = out.splitlines()[1:]
    assert keras.split()[6] == "1.0000"
    assert file.split()[6:10] == ["0.0000"] * 4
    assert "m.onnx: mAP of the file and of Keras with its own thresholds, --conf 0.95," in err


def test_stale_files_are_reported(check, monkeypatch, model):
    install(monkeypatch, Path("run/export/m.onnx"), weights="0")
    code, out, err = check("--check", "--json")
    assert code == 0
    assert [entry["file"] for entry in json.loads(out)] == ["run/export/m.onnx"]
    assert "warning: run/export/m.onnx was exported from other weights" in err


def test_files_of_other_runs_are_an_error(check, monkeypatch, model):
    install(monkeypatch, Path("run/export/m.onnx"), classes=("blue",))
    code, out, err = check("--check")
    assert (code, out) == (2, "")
    assert "exported from another run" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--check"], "no exported model in run/export"),
        (["--json"], "--json prints what --check measures"),
        (["--nms"], "no --format given"),
        (["--check", "--nms"], "--nms needs --format"),
        (["--check", "--format", "onnx", "--out", "m.bin"], "--out m.bin must end in .onnx"),
        (["--check", "--format", "openvino", "--out", "m.onnx"], "--out m.onnx is a folder"),
        (["--check", "--max-boxes", "7"], "--max-boxes needs --format"),
        (["--check", "--precision", "float32"], "--precision needs --format"),
    ],
)
def test_wrong_flags_are_usage_errors(check, flags, words):
    code, out, err = check(*flags)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err
