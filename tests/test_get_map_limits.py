"""What get_map.py does with crowded images, boxes beyond the border and `--set all`."""

import json
import sys

import numpy as np
import pytest

import get_map
import utils.run
from nets.nms import suppress
from tests.fake_run import make_run
from tests.vocset import add_image, add_list
from utils import cli

CELLS = [(x, y, x + 3, y + 3) for y in range(0, 60, 4) for x in range(0, 40, 4)]  # 150 boxes
SCORE = 0.9  # of each box that the run finds


def score(capsys, *flags):
    cli.run(get_map.main, get_map.build_parser(), ["--json", *map(str, flags)])
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


@pytest.fixture
def voc(tmp_path, monkeypatch):
    """Images of 64x64 with 150 cells each, and a run that finds all of them."""
    import tensorflow as tf

    def detect(images, *thresholds):
        boxes = tf.tile(tf.constant(CELLS, tf.float32)[None], (images.shape[0], 1, 1))
        scores = tf.fill((*boxes.shape[:2], 1), SCORE)
        return suppress(boxes, scores, *thresholds)

    run = make_run(tmp_path / "run", detect, ["cell"])
    monkeypatch.setattr(utils.run, "load_run", lambda path: run)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.chdir(tmp_path)
    voc = tmp_path / "VOCdevkit" / "VOC2007"
    for name in "ab":
        add_image(voc, name, [("cell", box) for box in CELLS], size=(64, 64))
    add_list(voc, "test", "a")
    return voc


def test_voc_counts_more_than_a_hundred_detections_per_image_and_coco_does_not(voc, capsys):
    scores, messages = score(capsys, "--run", "run")
    assert scores["voc"]["map"] == pytest.approx(1, abs=1e-9)
    assert scores["per_class"]["cell"]["detections"] == 150
    assert scores["coco"]["mar_100"] == pytest.approx(100 / 150, abs=1e-9)
    assert "limit" not in messages
    texts = voc.parents[1] / "map_out" / "detection-results" / "a.txt"
    assert len(texts.read_text().splitlines()) == 150
    folders = "--gt", "map_out/ground-truth", "--dets", "map_out/detection-results"
    again, _ = score(capsys, *folders, "--out", "again")
    assert (again["voc"], again["coco"]) == (scores["voc"], scores["coco"])
    assert again["per_class"] == scores["per_class"]


def test_images_that_reach_the_limit_with_low_scores_are_not_reported(voc, capsys, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SCORE", 0.009)
    assert "limit" not in score(capsys, "--run", "run", "--max-boxes", 100)[1]


def test_images_that_reach_the_limit_are_reported(voc, capsys):
    scores, messages = score(capsys, "--run", "run", "--max-boxes", 100)
    assert scores["voc"]["map"] == pytest.approx(100 / 150, abs=1e-9)
    assert "1 of 1 images reached the limit of 100 detections, raise --max-boxes" in messages
    page = (voc.parents[1] / "map_out" / "report.html").read_text(encoding="utf-8")
    assert "at most 100 detections per image" in page


def test_set_all_scores_every_annotated_image_once_in_spite_of_lists(voc, capsys):
    add_list(voc, "trainval", "b")
    add_list(voc, "val", "b")
    add_image(voc, "in no list", [("cell", CELLS[0])], size=(64, 64))
    scores, _ = score(capsys, "--run", "run", "--set", "all")
    assert scores["images"] == 3
    assert scores["per_class"]["cell"]["ground_truths"] == 301


def test_objects_that_no_detection_can_match_are_reported(voc, capsys):
    # 33 of 64 columns, 33 of 67 columns and 64 of 330 rows are inside.
    boxes = [(-31, 1, 32, 60), (-34, 1, 32, 60), (1, 1, 60, 330)]
    objects = [("cell", box) for box in boxes] + [("cell", boxes[1], 1)]
    add_image(voc, "a", objects, size=(64, 64))
    scores, messages = score(capsys, "--run", "run")
    assert "no box inside it reaches an IoU of 0.5: 2 in 1 image, first VOCdevkit" in messages
    assert "a.png; they count as missed, since boxes are scored as annotated" in messages
    assert scores["per_class"]["cell"]["ground_truths"] == 3
    written = (voc.parents[1] / "map_out" / "ground-truth" / "a.txt").read_text().split()
    assert np.array(written[1:5], float).tolist() == [-31, 1, 32, 60]
    _, messages = score(capsys, "--run", "run", "--iou", 0.2)
    assert "no box inside it reaches an IoU of 0.2: 1 in 1 image," in messages
