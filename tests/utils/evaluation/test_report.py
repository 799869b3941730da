from dataclasses import replace
from typing import get_args

import pytest

from utils.evaluation.report import format_report
from utils.evaluation.settings import Metric
from utils.evaluation.wording import HEADLINES


def test_undefined_metrics_are_dashes(report):
    lines = format_report(report).splitlines()
    assert lines[0] == "A <title>: a subtitle, 2 images"
    row = next(line for line in lines if line.startswith("no truth"))
    assert " ".join(row.split()) == "no truth - - - 0.00% - - - - - 0 2"


def test_the_score_of_the_best_f1_is_rounded_down(report):
    # Of a/b, both objects are found at a score of 0.9, in float32 0.89999998.
    lines = format_report(report).splitlines()
    heading = next(line for line in lines if line.startswith("class"))
    assert "best F1  at score" in heading
    row = next(line for line in lines if line.startswith("a/b")).split()
    assert row[7:9] == ["100.00%", "0.899"]


# Three of the four classes with ground truth are found exactly.
@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("voc", "VOC mAP at IoU 0.5   75.00%"),
        ("voc11", "VOC mAP, 11 points at IoU 0.5   75.00%"),
        ("coco", "COCO AP   75.00%"),
    ],
)
def test_the_headline_is_framed(report, metric, text):
    above, line, below = format_report(replace(report, metric=metric)).splitlines()[-3:]
    assert line == f"|   {text}   |"
    assert above == below == "+" + "=" * (len(line) - 2) + "+"


def test_every_metric_has_a_headline():
    assert tuple(HEADLINES) == get_args(Metric)


def test_unknown_metric_is_an_error(report):
    with pytest.raises(ValueError, match="metric is 'voc12'"):
        replace(report, metric="voc12")
