"""get_map.py --model, with a fake runtime."""

import json
import sys
from pathlib import Path

import pytest

import get_map
from tests.fake_runtime import install
from tests.red_finder import picture
from tests.vocset import add_image, add_list
from utils import cli


@pytest.fixture(autouse=True)
def _in_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def score(*flags):
    cli.run(get_map.main, get_map.build_parser(), list(map(str, flags)))


def add_red_images():
    """Two images: the object of the first is red, that of the second cannot be seen."""
    voc = Path("VOCdevkit/VOC2007")
    for name, box in {"a": (64, 32, 128, 96), "b": None}.items():
        add_image(voc, name, [("红/red", (65, 33, 128, 96))], image=picture(128, 192, box))
    add_list(voc, "test", ["a", "b"])


def test_model_is_scored_like_a_run(monkeypatch, capsys):
    add_red_images()
    sessions = install(monkeypatch, Path("m.onnx"))
    score("--model", "m.onnx", "--json")
    captured = capsys.readouterr()
    metrics = json.loads(captured.out)
    assert metrics["voc"]["map"] == pytest.approx(0.5, abs=1e-6)
    assert metrics["images"] == 2
    assert "note: red finder" in captured.err
    (session,) = sessions
    assert len(session.images) == 2
    assert Path("map_out/report.html").is_file()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "m.onnx", "--run", "logs/x"], "--run and --model cannot be combined"),
        (["--model", "m.onnx", "--gt", "a", "--dets", "b"], "--model and --gt cannot be combined"),
        (["--threads", "2"], "--threads applies only to exported models"),
    ],
)
def test_wrong_combinations_are_usage_errors(capsys, flags, words):
    with pytest.raises(SystemExit) as stopped:
        score(*flags)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
