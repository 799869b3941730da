import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation_sets import make_detections, make_sample, random_set
from utils.evaluation.curves import class_curves
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
    for tenth in range(11):
        reached = [precision for recall, precision in points if recall >= tenth / 10]
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
