import json
import os
import sys

import numpy as np
import pytest

import get_map
import utils.run
from tests.fake_run import make_run
from tests.vocset import add_image, add_list
from utils import cli


@pytest.fixture(autouse=True)
def _in_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def score(*flags):
    cli.run(get_map.main, get_map.build_parser(), list(map(str, flags)))


def error_of(capsys, *flags, code=2):
    """Runs the script, which must exit with `code`; returns the last line of standard error."""
    with pytest.raises(SystemExit) as exit_info:
        score(*flags)
    assert exit_info.value.code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    *_, line = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


def write(folder, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture
def text_files(tmp_path):
    """One of two cats is found. The only dog is found, but a false positive has a higher score."""
    truths = write(tmp_path / "gt", a="cat 10 10 50 50\nhot dog 60 10 90 50", b="cat 10 10 50 50")
    detections = write(
        tmp_path / "dets",
        a="hot dog 0.9 200 10 230 50\nhot dog 0.8 60 10 90 50\nfish 0.9 1 1 2 2\n",
        b="cat 0.7 10 10 50 50\n",
    )
    return "--gt", truths, "--dets", detections


def test_json_output_follows_the_contract(text_files, capsys):
    score(*text_files, "--json")
    captured = capsys.readouterr()
    scores = json.loads(captured.out)
    assert "'fish' is not in the ground truth" in captured.err
    assert list(scores) == ["voc", "coco", "per_class", "images", "seconds"]
    # Cats have a precision of 1 up to a recall of 1/2, at six of the 11 points. Dogs have 1/2 at
    # all points.
    assert scores["voc"] == {
        "iou": 0.5,
        "map": pytest.approx(0.5, abs=1e-9),
        "map_11pt": pytest.approx((6 / 11 + 1 / 2) / 2, abs=1e-9),
    }
    areas = ["map_small", "map_medium", "map_large"]
    recalls = ["mar_1", "mar_10", "mar_100"]
    assert list(scores["coco"]) == ["map", "map50", "map75", *areas, *recalls]
    assert scores["coco"]["map_small"] is None
    assert list(scores["per_class"]) == ["cat", "hot dog"]
    assert list(scores["per_class"]["cat"]) == [
        *("ap", "ap_11pt", "coco_ap", "precision", "recall", "f1", "lamr"),
        *("ground_truths", "detections", "best_f1", "best_f1_score"),
    ]
    assert scores["images"] == 2
    assert scores["seconds"]["predict"] is None
    assert scores["seconds"]["metric"] > 0


def test_iou_flag_is_used(text_files, capsys):
    score(*text_files, "--json", "--iou", "0.75")
    assert json.loads(capsys.readouterr().out)["voc"]["iou"] == 0.75


def test_table_is_printed_with_the_output_folder(text_files, capsys):
    score(*text_files, "--metric", "voc11", "--out", "elsewhere/here")
    printed = capsys.readouterr().out
    assert "VOC mAP, 11 points at IoU 0.5   52.27%" in printed
    assert "elsewhere/here/report.html" in printed.splitlines()[-1]


@pytest.fixture
def voc(tmp_path):
    """Three images, each with a cat near its middle and a fish in a corner."""
    voc = tmp_path / "VOCdevkit" / "VOC2007"
    for i in range(3):
        cat, fish = ("cat", (21 + i, 11, 60, 50)), ("fish", (1, 1, 9, 9))
        add_image(voc, f"image {i}", [cat, fish])
    add_list(voc, "test", [f"image {i}" for i in range(3)])
    add_list(voc, "fishy", ["image 0", "gone"])
    return voc


@pytest.fixture
def fake_run(monkeypatch, voc, tmp_path):
    """A run whose network finds a cat in the middle of every image."""
    import tensorflow as tf

    def detect(images, *settings):
        run.detector.settings = settings
        batch = tf.shape(images)[0]
        side = images.shape[1] / 4
        box = tf.constant([[side, side, 3 * side, 3 * side]])
        return {
            "boxes": tf.tile(box[None], (batch, 1, 1)),
            "scores": tf.fill((batch, 1), 0.123456789),
            "labels": tf.zeros((batch, 1), tf.int32),
            "counts": tf.ones(batch, tf.int32),
            "is_nan": tf.zeros(batch, tf.bool),
        }

    run = make_run(tmp_path / "run", detect, ["cat", "dog"])
    monkeypatch.setattr(utils.run, "load_run", lambda path: run)
    return run


def test_a_run_and_its_text_files_have_the_same_metrics(fake_run, capsys, tmp_path):
    score("--run", "run", "--json")
    captured = capsys.readouterr()
    scores = json.loads(captured.out)
    assert "unknown class: 3" in captured.err
    assert scores["images"] == 3
    assert scores["seconds"]["predict"] > 0
    assert scores["per_class"]["dog"]["ap"] is None
    assert scores["per_class"]["cat"]["ground_truths"] == 3
    # 80 x 60 images are letterboxed into 64 x 64 at a scale of 0.8. The middle half of the input is
    # 20..60 x 10..50 of the image.
    found = tmp_path / "map_out" / "detection-results" / "image 0.txt"
    name, *numbers = found.read_text().split()
    assert name == "cat"
    assert np.array(numbers, float) == pytest.approx([0.123456789, 20, 10, 60, 50], abs=1e-4)
    assert scores["voc"]["map"] == 1
    assert (tmp_path / "map_out" / "report.html").exists()

    folders = "--gt", "map_out/ground-truth", "--dets", "map_out/detection-results"
    score(*folders, "--json", "--out", "again")
    again = json.loads(capsys.readouterr().out)
    assert again["per_class"]["cat"] == scores["per_class"]["cat"]
    assert (again["voc"], again["coco"]) == (scores["voc"], scores["coco"])


def test_a_truncated_image_is_left_out(fake_run, voc, capsys, tmp_path):
    path = voc / "JPEGImages" / "image 0.png"
    path.write_bytes(path.read_bytes()[:-300])  # the header is intact
    score("--run", "run", "--json")
    captured = capsys.readouterr()
    assert "unreadable image: 1" in captured.err and "image 0.png" in captured.err
    assert json.loads(captured.out)["images"] == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), (0.001, 0.5, 500)),
        (("--conf", "0.1", "--nms-iou", "0.2", "--max-boxes", "7"), (0.1, 0.2, 7)),
    ],
)
def test_thresholds_reach_the_network(fake_run, flags, expected):
    score("--run", "run", *flags)
    assert fake_run.detector.settings == expected


def test_unusable_sets_are_errors(fake_run, voc, capsys, tmp_path):
    assert "no folder nowhere" in error_of(capsys, "--data", "nowhere", "--run", "run")
    assert "it has fishy, test" in error_of(capsys, "--set", "val", "--run", "run")
    add_list(voc, "empty", [])
    assert "empty.txt is empty" in error_of(capsys, "--set", "empty", "--run", "run")
    add_list(voc, "gone", ["gone"])
    assert "no image of set gone" in error_of(capsys, "--set", "gone", "--run", "run")
    fake_run.classes[:] = ["dog"]
    assert "(dog), it has cat, fish" in error_of(capsys, "--set", "fishy", "--run", "run")
    assert not (tmp_path / "map_out").exists()


def test_a_missing_run_is_an_error(voc, capsys):
    assert "no run directory nowhere" in error_of(capsys, "--run", "nowhere")
    assert "no run with weights in logs" in error_of(capsys)


def test_contradictory_flags_are_errors(text_files, capsys):
    gt, dets = text_files[:2], text_files[2:]
    assert "--gt and --dets must be used together" in error_of(capsys, *gt)
    assert "--gt and --dets must be used together" in error_of(capsys, *dets)
    assert "cannot be combined" in error_of(capsys, *text_files, "--run", "x")
    assert "have no effect on the detections in --dets" in error_of(
        capsys, *text_files, "--conf", 0.3
    )
    assert "--iou" in error_of(capsys, *text_files, "--iou", 0)
    assert "'100001' is not an integer" in error_of(capsys, "--max-boxes", 100_001)
    assert "'1.5' is not a number from 0 to 1" in error_of(capsys, *text_files, "--iou", 1.5)
    assert "did you mean voc11" in error_of(capsys, *text_files, "--metric", "voc12")
    assert "did you mean --dets" in error_of(capsys, *text_files, "--detz", "x")


def test_a_malformed_line_is_an_error(text_files, capsys, tmp_path):
    (tmp_path / "dets" / "b.txt").write_text("cat 0.7 10 10 50 50\ncat 0.7 10 10\n")
    assert "b.txt:2: cannot read" in error_of(capsys, *text_files)


def test_an_unwritable_folder_is_an_error(text_files, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in error_of(capsys, *text_files, "--out", "file")
    assert "file" in error_of(capsys, *text_files, "--out", "file/below")


def test_a_full_disk_keeps_the_earlier_results(text_files, capsys, tmp_path, monkeypatch):
    score(*text_files)
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "map_out").rglob("*.*")}

    def full(self, *_, **__):
        raise OSError(28, os.strerror(28), str(self))

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert "no space left" in error_of(capsys, *text_files, code=1)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "map_out").rglob("*.*")} == before
