"""predict.py --model, with a fake runtime."""

import json
from pathlib import Path

import pytest

from tests.fake_runtime import install
from tests.media import file_names, save_image, save_video


@pytest.fixture
def model(monkeypatch, tmp_path):
    """Writes m.onnx; returns the sessions that are opened."""
    return install(monkeypatch, tmp_path / "m.onnx")


def test_model_gives_the_output_of_its_run(run, model):
    save_image("a.png", (128, 192), (64, 32, 128, 96))
    flags = ("a.png", "--json", "--save", "txt", "--crop", "--count")
    expected = run(*flags)
    files = {name: Path("img_out", name).read_bytes() for name in file_names()}
    code, out, err = run(*flags, "--model", "m.onnx", "--out", "other")
    assert (code, out) == expected[:2]
    assert err == "note: red finder, 2 threads, auto\n"
    assert {name: Path("other", name).read_bytes() for name in file_names("other")} == files


def test_threads_and_precision_reach_the_runtime(run, model):
    save_image("a.png")
    err = run("a.png", "--model", "m.onnx", "--threads", 3, "--precision", "float32")[2]
    assert err == "note: red finder, 3 threads, float32\n"


def test_images_and_videos_in_batches(run, model):
    save_image("a.png")
    save_video("v.mp4", count=3)
    code, out, _ = run("a.png", "v.mp4", "--model", "m.onnx", "--batch-size", 2, "--json")
    assert code == 0
    assert [len(entry["detections"]) for entry in json.loads(out)] == [1, 1, 1, 1]
    (session,) = model
    assert session.runs == 3
    assert session.images.shape == (2, 64, 96, 3)


def test_fixed_batch_of_a_file_replaces_the_flag(run, monkeypatch):
    install(monkeypatch, Path("m.onnx"), batch=2)
    save_image("a.png")
    code, out, err = run("a.png", "--model", "m.onnx", "--batch-size", 8)
    assert code == 0
    assert "红/red 0.90" in out
    assert err.splitlines()[1:] == [
        "note: m.onnx takes 2 images per call, which replaces a batch size of 8"
    ]


def test_heatmaps_of_a_model(run, model):
    save_image("a.jpg")
    assert run("a.jpg", "--heatmap", "--model", "m.onnx")[0] == 0
    assert file_names() == ["a.jpg", "a_heatmap.jpg"]


def test_model_that_suppresses_boxes_has_no_heatmaps(run, monkeypatch):
    install(monkeypatch, Path("m.onnx"), nms=True)
    save_image("a.jpg")
    code, out, err = run("a.jpg", "--heatmap", "--model", "m.onnx")
    assert (code, out) == (2, "")
    assert "export it without --nms" in err
    assert not Path("img_out/a.jpg").exists()
    assert "红/red 0.90" in run("a.jpg", "--model", "m.onnx")[1]


@pytest.mark.parametrize(
    ("flags", "warns"),
    [
        (["--conf", 0.7, "--max-boxes", 9], False),
        (["--conf", 0.4], True),
        (["--iou", 0.2], True),
        (["--max-boxes", 101], True),
    ],
)
def test_thresholds_that_a_model_cannot_follow_draw_a_warning(run, monkeypatch, flags, warns):
    install(monkeypatch, Path("m.onnx"), nms=True)
    save_image("a.png")
    code, out, err = run("a.png", "--model", "m.onnx", *flags)
    assert code == 0
    assert "红/red 0.90" in out
    assert ("with --conf 0.5, --iou 0.3 and --max-boxes 100:" in err) == warns


@pytest.mark.parametrize("nms", [False, True])
def test_fps_test_of_a_model(run, monkeypatch, nms):
    install(monkeypatch, Path("m.onnx"), nms=nms)
    save_image("a.png")
    code, out, _ = run("a.png", "--fps-test", 2, "--json", "--model", "m.onnx")
    assert code == 0
    assert min(json.loads(out).values()) > 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "m.onnx", "--run", "logs/x"], "--run and --model cannot be combined"),
        (["--threads", "2"], "--threads applies only to exported models"),
        (["--precision", "float32"], "--precision applies only to exported models"),
        (
            ["--model", "m.onnx", "--precision", "bfloat16"],
            "--precision bfloat16 applies only to models of OpenVINO",
        ),
        (["--model", "missing.onnx"], "no model missing.onnx"),
        (["--model", "a.png"], "a.png is no exported model"),
        (["--model", "m.onnx", "--classes", "blue"], "blue"),
    ],
)
def test_wrong_models_are_usage_errors(run, model, flags, words):
    save_image("a.png")
    code, out, err = run("a.png", *flags)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err
