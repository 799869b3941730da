"""A run and its ONNX file: the same predictions, without TensorFlow, and what --check measures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import export
import predict
from tests.exported import CLASSES, make_run
from tests.media import save_image
from tests.vocset import add_image, add_list
from utils import cli
from utils.export.formats import ExportSettings
from utils.export.job import describe, export_float
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model
from utils.inference.thresholds import Thresholds
from utils.run import RunDirectory

ROOT = Path(__file__).parents[1]
SCRIPT = """
import sys
import predict
from utils import cli
from utils.inference.engines.openvino import import_openvino

cli.run(predict.main, predict.build_parser(), sys.argv[1:])
import_openvino()
import ai_edge_litert.interpreter
heavy = {"tensorflow", "keras", "h5py", "matplotlib", "scipy", "pandas", "hotcoco"}
print("imported:", *(heavy & set(sys.modules)), file=sys.stderr)
"""

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was validated on two images, with one exported file."""
    folder = tmp_path_factory.mktemp("exported")
    run = make_run(folder / "run")
    settings = ExportSettings("onnx")
    path = run.path / "export" / settings.file_name
    export_float(run, settings, describe(run, settings, Thresholds()), path)
    voc = folder / "VOCdevkit" / "VOC2007"
    for name in "ab":
        add_image(voc, name, [(CLASSES[0], (4, 4, 40, 50)), (CLASSES[2], (30, 8, 70, 50))])
    add_list(voc, "trainval", "ab")
    RunDirectory(run.path).write_images({"train": ["VOC2007/a"], "val": ["VOC2007/a", "VOC2007/b"]})
    return run


@pytest.fixture
def call(capsys, monkeypatch):
    """Calls a script in this process; returns standard output and standard error."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run_script(script, *flags):
        cli.run(script.main, script.build_parser(), list(map(str, flags)))
        return capsys.readouterr()

    return run_script


def test_model_finds_what_its_run_finds(run, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_image("a.png", (128, 160), (64, 32, 128, 96))
    flags = ("a.png", "--json", "--conf", 0.2)
    expected = json.loads(call(predict, *flags, "--run", run.path).out)
    found = json.loads(call(predict, *flags, "--model", only_export(run)).out)
    assert len(found[0]["detections"]) > 3
    ours, theirs = (each[0].pop("detections") for each in (found, expected))
    assert found == expected
    assert [each["label"] for each in ours] == [each["label"] for each in theirs]
    for name, tolerance in {"score": 1.1e-4, "box": 0.03}.items():
        values = [[each[name] for each in part] for part in (ours, theirs)]
        np.testing.assert_allclose(*values, atol=tolerance)


def test_model_predicts_without_tensorflow(run, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    pytest.importorskip("ai_edge_litert")
    monkeypatch.chdir(tmp_path)
    save_image("a.png")
    flags = ["a.png", "--model", str(only_export(run)), "--conf", "0.2"]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *flags],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    assert "a.png -> img_out/a.png" in result.stdout
    assert result.stderr.splitlines()[-1] == "imported:"


def test_check_measures_every_file_of_a_run(run, call):
    data = run.path.parent / "VOCdevkit"
    captured = call(export, "--run", run.path, "--data", data, "--check", "--json")
    (entry,) = json.loads(captured.out)
    assert list(entry) == [
        *("file", "format", "precision", "megabytes", "box_error_px", "score_error"),
        *("map50", "map", "map50_loss", "map_loss", "ms_batch1", "images_per_second_batch8"),
    ]
    path = only_export(run)
    assert entry["file"] == str(path)
    assert (entry["format"], entry["precision"]) == ("onnx", "float32")
    assert entry["megabytes"] == path.stat().st_size / 1e6
    assert 0 < entry["box_error_px"] < 0.01
    assert 0 < entry["score_error"] < 1e-4
    assert abs(entry["map50_loss"]) < 5e-4
    assert entry["map"] is not None
    assert min(entry["ms_batch1"], entry["images_per_second_batch8"]) > 0
    assert "warning" not in captured.err


def test_export_writes_a_file_and_replaces_none(run, call, capsys, tmp_path):
    small = make_run(tmp_path / "run", version="v4-tiny")
    RunDirectory(small.path).write_images({"train": ["VOC2007/a"], "val": ["VOC2007/a"]})
    flags = ("--run", small.path, "--data", run.path.parent / "VOCdevkit", "--format", "onnx")
    flags += ("--nms", "--conf", 0.2, "--check", "--json")
    (entry,) = json.loads(call(export, *flags).out)
    path = small.path / "export" / "detector-float32-nms.onnx"
    assert entry["file"] == str(path)
    assert {each.name for each in path.parent.iterdir()} == {path.name, "config.pbtxt"}
    assert f'"{path.name}"' in path.with_name("config.pbtxt").read_text()
    metadata = load_model(path, RuntimeSettings()).metadata
    assert metadata.nms and metadata.thresholds == Thresholds(confidence=0.2)
    with pytest.raises(SystemExit, match="2"):
        call(export, *flags, "--out", path)
    error = capsys.readouterr().err
    assert f"{path} already exists" in error and error.count("\n") == 1


def only_export(run) -> Path:
    (path,) = (run.path / "export").iterdir()
    return path
