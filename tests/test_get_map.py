import json
import os
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from vocset import add_image, add_list

import get_map
import utils.run
from nets.anchors import V4_ANCHORS
from utils import cli
from utils.evaluation.report import HEADLINES


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def score(*flags):
    cli.run(get_map.main, get_map.build_parser(), list(map(str, flags)))


def error_of(capsys, *flags):
    """Runs the script, which must end with 2 and a line on standard error: that line."""
    with pytest.raises(SystemExit) as stopped:
        score(*flags)
    assert stopped.value.code == 2
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
    """Half of the cats found, the only dog found with a false one before it."""
    truths = write(tmp_path / "gt", a="cat 10 10 50 50\nhot dog 60 10 90 50", b="cat 10 10 50 50")
    detections = write(
        tmp_path / "dets",
        a="hot dog 0.9 200 10 230 50\nhot dog 0.8 60 10 90 50\nfish 0.9 1 1 2 2\n",
        b="cat 0.7 10 10 50 50\n",
    )
    return "--gt", truths, "--dets", detections


def test_json_is_the_contract_and_nothing_else(text_files, capsys):
    score(*text_files, "--json")
    captured = capsys.readouterr()
    scores = json.loads(captured.out)
    assert "'fish' is not in the ground truth" in captured.err
    assert list(scores) == ["voc", "coco", "per_class", "images", "seconds"]
    # Cats: recall 1/2 at precision 1. Dogs: precision 1/2 at any recall. The 11 points see
    # precision 1 at six and 1/2 at all eleven.
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
        *("ground_truths", "detections"),
    ]
    assert scores["images"] == 2
    assert scores["seconds"]["predict"] is None
    assert scores["seconds"]["metric"] > 0


def test_the_overlap_that_finds_is_the_one_asked_for(text_files, capsys):
    score(*text_files, "--json", "--iou", "0.75")
    assert json.loads(capsys.readouterr().out)["voc"]["iou"] == 0.75


def test_a_table_is_printed_and_says_where_the_rest_lies(text_files, capsys):
    score(*text_files, "--metric", "voc11", "--out", "elsewhere/here")
    printed = capsys.readouterr().out
    assert "VOC mAP, 11 points at IoU 0.5   52.27%" in printed
    assert tuple(HEADLINES) == get_map.METRICS
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
    """A run whose network finds a cat in the middle of any image."""
    import tensorflow as tf

    def detect(images, *settings):
        detector.settings = settings
        batch = tf.shape(images)[0]
        side = images.shape[1] / 4
        box = tf.constant([[side, side, 3 * side, 3 * side]])
        return {
            "boxes": tf.tile(box[None], (batch, 1, 1)),
            "scores": tf.fill((batch, 1), 0.123456789),
            "labels": tf.zeros((batch, 1), tf.int32),
            "counts": tf.ones(batch, tf.int32),
        }

    detector = SimpleNamespace(
        input_size=(64, 64), anchors=V4_ANCHORS, detect=detect, as_constants=nullcontext
    )
    config = SimpleNamespace(resize="letterbox")
    run = utils.run.Run(tmp_path / "run", config, ["cat", "dog"], None, detector)
    monkeypatch.setattr(utils.run, "load_run", lambda path: run)
    return run


def test_a_run_is_scored_and_its_text_files_score_the_same(fake_run, capsys, tmp_path):
    score("--run", "run", "--json")
    captured = capsys.readouterr()
    scores = json.loads(captured.out)
    assert "unknown class: 3" in captured.err
    assert scores["images"] == 3
    assert scores["seconds"]["predict"] > 0
    assert scores["per_class"]["dog"]["ap"] is None
    assert scores["per_class"]["cat"]["ground_truths"] == 3
    # Images of 60 x 80 letterboxed into 64 x 64 at 0.8, their middle half is 20..60 x 10..50.
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


def test_a_picture_that_is_cut_short_is_left_out_as_in_training(fake_run, voc, capsys, tmp_path):
    path = voc / "JPEGImages" / "image 0.png"
    path.write_bytes(path.read_bytes()[:-300])  # its header is sound
    score("--run", "run", "--json")
    captured = capsys.readouterr()
    assert "unreadable image: 1" in captured.err and "image 0.png" in captured.err
    assert json.loads(captured.out)["images"] == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [((), (0.001, 0.5, 100)), (("--conf", "0.1", "--nms-iou", "0.2"), (0.1, 0.2, 100))],
)
def test_flags_reach_the_network(fake_run, flags, expected):
    score("--run", "run", *flags)
    assert fake_run.detector.settings == expected


def test_sets_that_cannot_be_scored_are_named(fake_run, voc, capsys, tmp_path):
    assert "no folder nowhere" in error_of(capsys, "--data", "nowhere", "--run", "run")
    assert "it has fishy, test" in error_of(capsys, "--set", "val", "--run", "run")
    add_list(voc, "empty", [])
    assert "its list is empty" in error_of(capsys, "--set", "empty", "--run", "run")
    add_list(voc, "gone", ["gone"])
    assert "no image of set gone" in error_of(capsys, "--set", "gone", "--run", "run")
    fake_run.classes[:] = ["dog"]
    assert "(dog), it has cat, fish" in error_of(capsys, "--set", "fishy", "--run", "run")
    assert not (tmp_path / "map_out").exists()


def test_a_missing_run_is_named(voc, capsys):
    assert "no run directory nowhere" in error_of(capsys, "--run", "nowhere")
    assert "no run with weights in logs" in error_of(capsys)


def test_flags_that_make_no_sense_are_named(text_files, capsys):
    gt, dets = text_files[:2], text_files[2:]
    assert "--gt and --dets go together" in error_of(capsys, *gt)
    assert "--gt and --dets go together" in error_of(capsys, *dets)
    assert "exclude each other" in error_of(capsys, *text_files, "--run", "x")
    assert "--iou" in error_of(capsys, *text_files, "--iou", 0)
    assert "1.5 is not between 0 and 1" in error_of(capsys, *text_files, "--iou", 1.5)
    assert "did you mean voc11" in error_of(capsys, *text_files, "--metric", "voc12")
    assert "did you mean --dets" in error_of(capsys, *text_files, "--detz", "x")


def test_malformed_text_is_named_with_its_line(text_files, capsys, tmp_path):
    (tmp_path / "dets" / "b.txt").write_text("cat 0.7 10 10 50 50\ncat 0.7 10 10\n")
    assert "b.txt:2: cannot read" in error_of(capsys, *text_files)


def test_a_folder_that_cannot_be_written_is_named(text_files, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in error_of(capsys, *text_files, "--out", "file")
    assert "file" in error_of(capsys, *text_files, "--out", "file/below")


def test_a_full_disk_keeps_the_earlier_result(text_files, capsys, tmp_path, monkeypatch):
    score(*text_files)
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "map_out").rglob("*.*")}

    def full(self, *_, **__):
        raise OSError(28, os.strerror(28), str(self))

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert "no space left" in error_of(capsys, *text_files)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "map_out").rglob("*.*")} == before
