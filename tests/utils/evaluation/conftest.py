"""A report that several tests share."""

import cv2
import numpy as np
import pytest

from utils.data.samples import Sample
from utils.evaluation.metrics import evaluate
from utils.evaluation.report import Report
from utils.inference.detections import Detections

# A path separator, markup, a TeX formula, a letter that DejaVu Sans lacks.
CLASSES = ["a/b", "<b>&", "$x$", "猫", "no truth"]


@pytest.fixture
def report(tmp_path):
    """Two images with one object each of the first four classes, of which three are detected."""
    samples, detections = [], []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), np.full((60, 100, 3), 90, np.uint8))
        # The first object touches two borders, the second is larger than the image.
        boxes = np.array([[0, 0, 12, 9], [-5, -5, 140, 90], [90, 50, 99, 59], [40, 20, 60, 40]])
        boxes = boxes.astype(np.float32)
        samples.append(Sample(name, path, boxes, np.arange(4), np.zeros(4, bool), 100, 60))
        scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
        detections.append(Detections(boxes, scores, np.array([0, 1, 2, 4])))
    evaluation = evaluate(samples, detections, CLASSES, predict_seconds=2.0)
    return Report("A <title>", "a subtitle", samples, detections, evaluation)
