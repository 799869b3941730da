import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from utils.data.annotation import Sample
from utils.evaluation.coco import coco_scores
from utils.evaluation.metrics import box_iou, class_curves, confusion_matrix, evaluate, match
from utils.inference.detections import Detections


def sample(*objects):
    """Of `(label, xmin, ymin, xmax, ymax, difficult)`."""
    table = np.array(objects, np.float32).reshape(-1, 6)
    return Sample(
        image_id="",
        image=Path(),
        boxes=table[:, 1:5],
        labels=table[:, 0].astype(np.int32),
        difficult=table[:, 5].astype(bool),
        width=500,
        height=400,
    )


def found(*detections):
    """Of `(label, score, xmin, ymin, xmax, ymax)`."""
    table = np.array(detections, np.float32).reshape(-1, 6)
    return Detections(table[:, 2:], table[:, 1], table[:, 0].astype(np.int32))


def random_set(seed, images=6, num_classes=3):
    """Objects, and detections near them, far from them and of the wrong class, with equal scores.

    Corners lie on whole pixels so that overlaps hit the threshold itself now and then; the last
    class may well have no ground truth, or no detection.
    """
    rng = np.random.default_rng(seed)
    samples, detections = [], []
    for _ in range(images):
        corners = rng.integers(0, 150, (rng.integers(0, 5), 2))
        boxes = np.concatenate([corners, corners + rng.integers(0, 120, corners.shape)], axis=1)
        labels = rng.integers(0, num_classes, len(boxes))
        difficult = rng.random(len(boxes)) < 0.25
        samples.append(sample(*np.column_stack([labels, boxes, difficult])))
        rows = []
        for _ in range(rng.integers(0, 12)):
            corner = rng.integers(0, 150, 2)
            box = np.concatenate([corner, corner + rng.integers(0, 120, 2)])
            label = rng.integers(0, num_classes - 1)
            if len(boxes) and rng.random() < 0.7:
                near = rng.integers(len(boxes))
                box = boxes[near] + rng.integers(-4, 5, 4)
                box[2:] = np.maximum(box[2:], box[:2])
                label = labels[near]
            rows.append((label, rng.integers(0, 11) / 10, *box))
        detections.append(found(*rows))
    return samples, detections


# By hand: the development kit's rules one by one, class 0 on two images.
HAND_SAMPLES = [
    sample((0, 10, 10, 19, 19, 0), (0, 50, 10, 59, 19, 1)),  # A, and B which is difficult
    sample(
        (0, 10, 10, 19, 19, 0), (0, 50, 10, 59, 19, 0), (0, 50, 50, 59, 59, 0), (2, 0, 0, 9, 9, 0)
    ),
]
HAND_DETECTIONS = [
    found(
        # 10 x 5 = 50 pixels, all in A's 10 x 10: IoU 50 / 100 reaches 0.5, so a hit. Without the
        # inclusive pixels it were 9 * 4 / (9 * 9) = 0.44 and a miss.
        (0, 0.9, 10, 10, 19, 14),
        (0, 0.8, 10, 10, 19, 19),  # A exactly, but A is taken: false
        (0, 0.7, 50, 10, 59, 19),  # B is difficult: neither hit nor miss
        (1, 0.6, 10, 10, 19, 19),  # a class without ground truth
    ),
    found(
        (0, 0.6, 100, 100, 109, 109),  # nothing there: false
        (0, 0.4, 10, 10, 19, 19),  # hit
    ),
]


def test_voc_figures_equal_the_hand_worked_example():
    scores = evaluate(HAND_SAMPLES, HAND_DETECTIONS, ["a", "without truth", "never found"])
    a = scores["per_class"]["a"]
    # Four objects count. Hit, false, false, hit: recall 1/4 1/4 1/4 2/4, precision 1 1/2 1/3 2/4,
    # its envelope 1 1/2 1/2 1/2.
    assert a["ground_truths"] == 4
    assert a["detections"] == 5
    assert a["ap"] == pytest.approx(1 / 4 * 1 + 1 / 4 * 1 / 2, abs=1e-9)
    # Recall 0, 0.1, 0.2 sees precision 1; 0.3, 0.4, 0.5 sees 1/2; the other five see none.
    assert a["ap_11pt"] == pytest.approx((3 * 1 + 3 * 1 / 2) / 11, abs=1e-9)
    # From score 0.5 on: one hit in three detections.
    assert a["precision"] == pytest.approx(1 / 3, abs=1e-9)
    assert a["recall"] == pytest.approx(1 / 4, abs=1e-9)
    assert a["f1"] == pytest.approx(2 * (1 / 3) * (1 / 4) / (1 / 3 + 1 / 4), abs=1e-9)
    # False positives an image: 0, 1/2, 1, 1 of two images; miss rate 3/4, 3/4, 3/4, 1/2. The
    # first eight reference points are 0.01 to 0.562 and see 3/4, the last is 1 and sees 1/2.
    assert a["lamr"] == pytest.approx(((3 / 4) ** 8 * (1 / 2)) ** (1 / 9), abs=1e-9)
    # The class that is never found counts in the means, the one without ground truth does not.
    assert scores["voc"]["map"] == pytest.approx((0.375 + 0) / 2, abs=1e-9)
    assert scores["voc"]["map_11pt"] == pytest.approx((4.5 / 11 + 0) / 2, abs=1e-9)


def test_what_is_undefined_is_null_never_nan():
    scores = evaluate(HAND_SAMPLES, HAND_DETECTIONS, ["a", "without truth", "never found"])
    json.dumps(scores, allow_nan=False)
    assert scores["per_class"]["without truth"] == {
        "ap": None,
        "ap_11pt": None,
        "coco_ap": None,
        "precision": 0.0,
        "recall": None,
        "f1": None,
        "lamr": None,
        "ground_truths": 0,
        "detections": 1,
    }
    assert scores["per_class"]["never found"] == {
        "ap": 0.0,
        "ap_11pt": 0.0,
        "coco_ap": 0.0,
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
        "lamr": 1.0,
        "ground_truths": 1,
        "detections": 0,
    }
    assert scores["coco"]["map_large"] is None


@pytest.mark.parametrize("detections", [found(), found((0, 0.9, 1, 1, 5, 5))])
def test_a_set_without_objects_has_no_means(detections):
    scores = evaluate([sample()], [detections], ["a"])
    assert scores["voc"] == {"iou": 0.5, "map": None, "map_11pt": None}
    assert set(scores["coco"].values()) == {None}


def test_perfect_detections_score_one_at_any_recall_step():
    boxes = [(0, x, 0, x + 9, 9, 0) for x in range(0, 300, 10)]
    detections = found(*((0, 0.9, *box[1:5]) for box in boxes))
    curve = class_curves(match([sample(*boxes)], [detections], 0.5), 1)[0]
    assert curve.average_precision == pytest.approx(1, abs=1e-9)
    assert curve.average_precision_11pt == pytest.approx(1, abs=1e-9)


def test_box_iou_counts_the_pixels_of_both_edges():
    # 2 x 2 and 2 x 2 pixels share one: 1 / 7. Boxes that only touch by an edge's pixels do too.
    boxes, others = np.array([[0, 0, 1, 1]]), np.array([[1, 1, 2, 2], [2, 2, 3, 3]])
    np.testing.assert_allclose(box_iou(boxes, others), [[1 / 7, 0]])


def straightforward_voc(samples, detections, label, threshold):
    """VOCevaldet.m in loops: the AP and the 11-point AP of one class."""

    def overlap(a, b):
        width = min(a[2], b[2]) - max(a[0], b[0]) + 1
        height = min(a[3], b[3]) - max(a[1], b[1]) + 1
        if width <= 0 or height <= 0:
            return 0.0
        area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
        area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
        return width * height / (area_a + area_b - width * height)

    rows = [
        (score, image, box)
        for image, detected in enumerate(detections)
        for box, score, its in zip(
            detected.boxes.tolist(), detected.scores.tolist(), detected.labels, strict=True
        )
        if its == label
    ]
    rows.sort(key=lambda row: -row[0])
    objects = [
        [
            {"box": box, "difficult": hard, "taken": False}
            for box, its, hard in zip(s.boxes.tolist(), s.labels, s.difficult, strict=True)
            if its == label
        ]
        for s in samples
    ]
    positives = sum(not each["difficult"] for image in objects for each in image)
    if positives == 0:
        return None, None
    hits = falses = 0
    points = []
    for _, image, box in rows:
        best, nearest = -math.inf, None
        for each in objects[image]:
            if overlap(box, each["box"]) > best:
                best, nearest = overlap(box, each["box"]), each
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
def test_voc_figures_equal_a_straightforward_implementation(seed, threshold):
    samples, detections = random_set(seed)
    for label, curve in enumerate(class_curves(match(samples, detections, threshold), 3)):
        expected = straightforward_voc(samples, detections, label, threshold)
        got = curve.average_precision, curve.average_precision_11pt
        assert got == (pytest.approx(expected[0], abs=1e-9), pytest.approx(expected[1], abs=1e-9))


def pycocotools_figures(samples, detections, num_classes):
    def coco(boxes_labels_scores):
        annotations = []
        for image, (boxes, labels, scores) in enumerate(boxes_labels_scores):
            for (left, top, right, bottom), label, score in zip(
                boxes.tolist(), labels.tolist(), scores, strict=True
            ):
                width, height = right - left, bottom - top
                annotation = {"image_id": image, "category_id": label, "score": float(score)}
                annotation |= {"id": len(annotations) + 1, "iscrowd": 0, "area": width * height}
                annotations.append(annotation | {"bbox": [left, top, width, height]})
        out = COCO()
        out.dataset = {
            "images": [{"id": image} for image in range(len(samples))],
            "categories": [{"id": label} for label in range(num_classes)],
            "annotations": annotations,
        }
        out.createIndex()
        return out

    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco((s.boxes, s.labels, np.ones(len(s.labels))) for s in samples)
        evaluation = COCOeval(
            truth, coco((d.boxes, d.labels, d.scores) for d in detections), "bbox"
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return evaluation.stats[:9], [precision[:, :, label].mean() for label in range(num_classes)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_coco_figures_equal_pycocotools(seed):
    samples, detections = random_set(seed)
    means, per_class = coco_scores(samples, detections, 3)
    expected_means, expected_per_class = pycocotools_figures(samples, detections, 3)
    for got, expected in [
        *zip(means.values(), expected_means, strict=True),
        *zip(per_class, expected_per_class, strict=True),
    ]:
        assert (-1 if got is None else got) == pytest.approx(expected, abs=1e-6)


def test_confusion_matrix_equals_the_hand_worked_example():
    samples = [
        sample((0, 10, 10, 19, 19, 0), (1, 50, 10, 59, 19, 0), (1, 90, 10, 99, 19, 1)),
        sample((1, 10, 10, 19, 19, 0)),
    ]
    detections = [
        found(
            (0, 0.6, 10, 10, 19, 17),  # overlaps the first object by 0.8
            (1, 0.9, 10, 10, 19, 19),  # by 1: this is the pair, 0 taken for 1; the other is left
            (1, 0.8, 90, 10, 99, 19),  # a difficult object: not counted
        ),
        found((1, 0.4, 10, 10, 19, 19)),  # not sure enough, so its object is a miss
    ]
    # Rows true, columns detected, the last of each is the background.
    expected = [[0, 1, 0], [0, 0, 2], [1, 0, 0]]
    np.testing.assert_array_equal(confusion_matrix(samples, detections, 2), expected)
