import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluation_sets import make_detections, make_sample, random_set
from utils.evaluation.coco import coco_scores


def coco_dataset(images, num_classes):
    """Makes a `COCO` dataset from boxes, labels, scores and marks of crowds per image."""
    annotations = []
    for image, columns in enumerate(images):
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for (left, top, right, bottom), label, score, crowd in rows:
            width, height = right - left, bottom - top
            annotation = {"image_id": image, "category_id": label, "score": score}
            annotation |= {"id": len(annotations) + 1, "area": width * height}
            annotation |= {"iscrowd": int(crowd), "bbox": [left, top, width, height]}
            annotations.append(annotation)
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": image} for image in range(len(images))],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": annotations,
    }
    dataset.createIndex()
    return dataset


def pycocotools_metrics(samples, detections, num_classes):
    truths = [(each.boxes, each.labels, np.ones(len(each.labels)), each.crowd) for each in samples]
    results = [
        (each.boxes, each.labels, each.scores, np.zeros(len(each), bool)) for each in detections
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        datasets = [coco_dataset(images, num_classes) for images in (truths, results)]
        evaluation = COCOeval(*datasets, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return evaluation.stats[:9], [precision[:, :, label].mean() for label in range(num_classes)]


def assert_equal_to_pycocotools(samples, detections, num_classes):
    means, per_class = coco_scores(samples, detections, num_classes)
    expected_means, expected_per_class = pycocotools_metrics(samples, detections, num_classes)
    for got, expected in [
        *zip(means.values(), expected_means, strict=True),
        *zip(per_class, expected_per_class, strict=True),
    ]:
        assert (-1 if got is None else got) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_metrics_equal_pycocotools(seed):
    samples, detections = random_set(seed)
    assert_equal_to_pycocotools(samples, detections, 3)
    rng = np.random.default_rng(seed)
    samples = [replace(each, crowd=rng.random(len(each.boxes)) < 0.3) for each in samples]
    assert_equal_to_pycocotools(samples, detections, 3)


def test_crowd_need_not_be_found_and_detections_in_it_are_ignored():
    sample = make_sample((0, 0, 0, 20, 20, 0), (0, 100, 100, 300, 300, 1))
    sample = replace(sample, crowd=np.array([False, True]))
    in_crowd = [(0, 0.9, 110, 110, 130, 130), (0, 0.8, 200, 200, 230, 230)]
    for found in ([], in_crowd):
        means, _ = coco_scores([sample], [make_detections((0, 0.5, 0, 0, 20, 20), *found)], 1)
        assert means["map"] == pytest.approx(1, abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_boxes_beyond_the_border_are_scored_as_written(seed):
    samples, detections = random_set(seed)
    shift = np.float32([-75, -75, -75, -75])
    samples = [replace(each, boxes=each.boxes + shift) for each in samples]
    detections = [replace(each, boxes=each.boxes + shift) for each in detections]
    assert_equal_to_pycocotools(samples, detections, 3)


def test_a_hundred_detections_count_per_image_and_category():
    # 150 objects of each of two classes, all found. Of the first, every second detection is false,
    # so that only half of its best 100 count; of the second, only 100 of the 150.
    boxes = [(x, y, x + 20, y + 20) for y in range(0, 250, 25) for x in range(0, 375, 25)]
    sample = make_sample(*((label, *box, 0) for label in (0, 1) for box in boxes))
    scores = np.linspace(0.9, 0.1, 600)
    true = [(0, score, *box) for score, box in zip(scores[0:300:2], boxes, strict=True)]
    false = [(0, score, 600, 600, 620, 620) for score in scores[1:300:2]]
    second = [(1, score, *box) for score, box in zip(scores[300:450], boxes, strict=True)]
    found = make_detections(*true, *false, *second)
    assert_equal_to_pycocotools([sample], [found], 2)
    means, _ = coco_scores([sample], [found], 2)
    assert means["mar_100"] == pytest.approx((50 / 150 + 100 / 150) / 2, abs=1e-9)
