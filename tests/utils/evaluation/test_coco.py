import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluation_sets import random_set
from utils.evaluation.coco import coco_scores


def coco_dataset(images, num_classes):
    """Makes a `COCO` dataset from boxes, labels and scores per image."""
    annotations = []
    for image, (boxes, labels, scores) in enumerate(images):
        for (left, top, right, bottom), label, score in zip(
            boxes.tolist(), labels.tolist(), scores, strict=True
        ):
            width, height = right - left, bottom - top
            annotation = {"image_id": image, "category_id": label, "score": float(score)}
            annotation |= {"id": len(annotations) + 1, "iscrowd": 0, "area": width * height}
            annotations.append(annotation | {"bbox": [left, top, width, height]})
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": image} for image in range(len(images))],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": annotations,
    }
    dataset.createIndex()
    return dataset


def pycocotools_metrics(samples, detections, num_classes):
    truths = [(sample.boxes, sample.labels, np.ones(len(sample.labels))) for sample in samples]
    results = [(each.boxes, each.labels, each.scores) for each in detections]
    with contextlib.redirect_stdout(io.StringIO()):
        datasets = [coco_dataset(images, num_classes) for images in (truths, results)]
        evaluation = COCOeval(*datasets, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return evaluation.stats[:9], [precision[:, :, label].mean() for label in range(num_classes)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_metrics_equal_pycocotools(seed):
    samples, detections = random_set(seed)
    means, per_class = coco_scores(samples, detections, 3)
    expected_means, expected_per_class = pycocotools_metrics(samples, detections, 3)
    for got, expected in [
        *zip(means.values(), expected_means, strict=True),
        *zip(per_class, expected_per_class, strict=True),
    ]:
        assert (-1 if got is None else got) == pytest.approx(expected, abs=1e-6)
