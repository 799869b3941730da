"""Detections and ground truth in text files."""

import math

import numpy as np
import pytest

from tests.fuzzing import changed_lines, check_line, damaged, judge
from utils.evaluation.boxfiles import read_box_files
from utils.evaluation.metrics import evaluate

TRUTHS = "cat 1 2 30 40\nred car 5 5 9.5 12 difficult\n红 -3 0 8 9\n"
DETECTIONS = "cat 0.9 1 2 30 41\nred car 1 5 5 9.5 12\n红 1e-5 -3 0 8 9\ncat 0.5 50 50 60 60\n"
WORDS = [b"difficult", b"nan", b"inf", b"1e39", b"-", b" ", b"\n", b"\xc2\x85", b"1_0", b"\0"]


@pytest.fixture
def folders(tmp_path):
    for name, text in (("gt", TRUTHS), ("dets", DETECTIONS)):
        (tmp_path / name).mkdir()
        for stem in ("a", "b"):
            (tmp_path / name / f"{stem}.txt").write_text(text, encoding="utf-8")
    return tmp_path / "gt", tmp_path / "dets"


def check_files(folders):
    found = judge(read_box_files, *folders)
    if found is None:
        return
    for note in found.notes:
        check_line(note)
    labels = range(len(found.classes))
    for sample, detected in zip(found.samples, found.detections, strict=True):
        for boxes, those in ((sample.boxes, sample.labels), (detected.boxes, detected.labels)):
            assert boxes.shape == (len(those), 4) and np.isfinite(boxes).all()
            assert (boxes[:, 2:] >= boxes[:, :2]).all() and np.isin(those, labels).all()
        assert ((detected.scores >= 0) & (detected.scores <= 1)).all()
    with np.errstate(over="raise", invalid="raise"):
        evaluation = judge(evaluate, found.samples, found.detections, found.classes, 0.5, None)
    for key, value in evaluation.metrics.items():
        assert not isinstance(value, float) or (math.isfinite(value) and value >= -1), key


def test_text_files(fuzz, folders):
    def check(truths, detections):
        for folder, data in zip(folders, (truths, detections), strict=True):
            (folder / "a.txt").write_bytes(data)
        check_files(folders)

    files = [(TRUTHS.encode(), TRUTHS.encode("utf-16")), (DETECTIONS.encode(),)]
    truths, detections = (
        damaged(list(each), WORDS) | changed_lines(each[0].decode()) for each in files
    )
    fuzz(check, truths=truths, detections=detections)
