import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation_sets import make_detections, make_sample, random_set
from utils.evaluation.curves import Curve, class_curves
from utils.evaluation.matching import match_detections


def test_perfect_detections_have_an_average_precision_of_one():
    boxes = [(0, x, 0, x + 9, 9, 0) for x in range(0, 300, 10)]
    detections = make_detections(*((0, 0.9, *box[1:5]) for box in boxes))
    curve = class_curves(match_detections([make_sample(*boxes)], [detections], 0.5), ["a"])["a"]
    assert curve.average_precision == pytest.approx(1, abs=1e-9)
    assert curve.average_precision_11pt == pytest.approx(1, abs=1e-9)


def inclusive_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return width * height / (area_a + area_b - width * height)


def voc_reference(samples, detections, label, threshold):
    """Computes AP and 11-point AP of one class in loops, as `VOCevaldet.m` does."""
    rows = [
        (score, image, box)
        for image, detected in enumerate(detections)
        for box, score, box_label in zip(
            detected.boxes.tolist(), detected.scores.tolist(), detected.labels, strict=True
        )
        if box_label == label
    ]
    rows.sort(key=lambda row: -row[0])
    objects = [
        [
            {"box": box, "difficult": difficult, "taken": False}
            for box, box_label, difficult in zip(
                sample.boxes.tolist(), sample.labels, sample.difficult, strict=True
            )
            if box_label == label
        ]
        for sample in samples
    ]
    positives = sum(not each["difficult"] for image in objects for each in image)
    if positives == 0:
        return None, None
    hits = falses = 0
    points = []
    for _, image, box in rows:
        best, nearest = -math.inf, None
        for each in objects[image]:
            if inclusive_iou(box, each["box"]) > best:
                best, nearest = inclusive_iou(box, each["box"]), each
        if best >= threshold and nearest["difficult"]:
            continue
        if best >= threshold and not nearest["taken"]:
            hits += 1
            nearest["taken"] = True
        else:
            falses += 1
        points.append((hits / positives, hits / (hits + falses)))
    area, before = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[i:])
        before = recall
    eleven = 0.0
    for threshold in np.arange(0.0, 1.1, 0.1):  # as in py-faster-rcnn's voc_ap
        reached = [precision for recall, precision in points if recall >= threshold]
        eleven += max(reached, default=0) / 11
    return area, eleven


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.3, 0.5, 0.75]))
def test_average_precision_equals_the_reference(seed, threshold):
    samples, detections = random_set(seed)
    curves = class_curves(match_detections(samples, detections, threshold), "abc")
    for label, curve in enumerate(curves.values()):
        expected = voc_reference(samples, detections, label, threshold)
        got = curve.average_precision, curve.average_precision_11pt
        assert got == (pytest.approx(expected[0], abs=1e-9), pytest.approx(expected[1], abs=1e-9))


def curve_of(scores, hits, ground_truths):
    scores, hits = np.array(scores, float), np.array(hits, bool)
    return Curve(scores, hits, ground_truths, images=1, detections=len(hits))


def test_recalls_of_exact_tenths_do_not_reach_the_floating_point_thresholds():
    # Of 10 objects, recall 0.3 is reached with precision 1, 0.6 with 6/9 and 0.7 with 7/13.
    hits = [1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    curve = curve_of(np.linspace(0.9, 0.1, 13), hits, ground_truths=10)
    # In floating point the thresholds 3 * 0.1, 6 * 0.1 and 7 * 0.1 are above 3/10, 6/10 and 7/10.
    # So there is 1 at three thresholds, 6/9 at the next three, 7/13 at 0.6, and 0 from 0.7 on.
    assert curve.average_precision_11pt == pytest.approx((3 + 3 * 6 / 9 + 7 / 13) / 11, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_boxes_beyond_the_border_are_scored_as_written(seed):
    samples, detections = random_set(seed)
    expected = voc_reference(samples, detections, 0, 0.5)
    # Up to three quarters of the boxes are then beyond the upper left border.
    shift = np.float32([-75, -75, -75, -75])
    moved = [replace(each, boxes=each.boxes + shift) for each in samples]
    found = [replace(each, boxes=each.boxes + shift) for each in detections]
    curve = class_curves(match_detections(moved, found, 0.5), "abc")["a"]
    got = curve.average_precision, curve.average_precision_11pt
    assert got == (pytest.approx(expected[0], abs=1e-9), pytest.approx(expected[1], abs=1e-9))


def test_best_f1_equals_the_hand_worked_example():
    # Of 4 objects. A score of 0.9 keeps 1 detection, F1 is 2 * 1 / (1 + 4); 0.8 keeps 3, F1 is
    # 2 * 2 / (3 + 4); 0.7 keeps 4, F1 is 2 * 2 / (4 + 4). No score keeps only one of two equals.
    curve = curve_of([0.9, 0.8, 0.8, 0.7], [1, 1, 0, 0], ground_truths=4)
    assert curve.best_f1 == (pytest.approx(4 / 7, abs=1e-12), 0.8)


def test_of_equal_f1_the_highest_score_is_reported():
    # F1 is 2 * 1 / (1 + 1) at 0.9; with two objects, 2 * 1 / (1 + 2) = 2 * 2 / (4 + 2).
    assert curve_of([0.9, 0.5], [1, 0], ground_truths=1).best_f1 == (1.0, 0.9)
    curve = curve_of([0.9, 0.5, 0.4, 0.3], [1, 0, 0, 1], ground_truths=2)
    assert curve.best_f1 == (pytest.approx(2 / 3, abs=1e-12), 0.9)


def test_best_f1_is_undefined_without_objects_and_its_score_without_hits():
    assert curve_of([0.9], [0], ground_truths=0).best_f1 == (None, None)
    assert curve_of([0.9], [0], ground_truths=2).best_f1 == (0.0, None)
    assert curve_of([], [], ground_truths=2).best_f1 == (0.0, None)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_best_f1_is_the_highest_of_all_scores(seed):
    samples, detections = random_set(seed)
    for curve in class_curves(match_detections(samples, detections, 0.5), "abc").values():
        f1, score = curve.best_f1
        if score is not None:
            assert f1 == pytest.approx(max(curve.at(each)[2] for each in curve.scores), abs=1e-12)
            assert f1 == pytest.approx(curve.at(score)[2], abs=1e-12)
