import json

import pytest

from tests.evaluation_sets import make_detections, make_sample
from utils.evaluation.metrics import evaluate

# A hand-worked example of the rules of VOC's development kit: class 0 on two images.
SAMPLES = [
    make_sample((0, 10, 10, 19, 19, 0), (0, 50, 10, 59, 19, 1)),  # A, and B which is difficult
    make_sample(
        (0, 10, 10, 19, 19, 0), (0, 50, 10, 59, 19, 0), (0, 50, 50, 59, 59, 0), (2, 0, 0, 9, 9, 0)
    ),
]
DETECTIONS = [
    make_detections(
        # 10 x 5 = 50 pixels, all of them in A's 10 x 10: IoU 50 / 100 reaches 0.5, a true positive.
        # Without inclusive pixels the IoU is 9 * 4 / (9 * 9) = 0.44, a false positive.
        (0, 0.9, 10, 10, 19, 14),
        (0, 0.8, 10, 10, 19, 19),  # exactly A, which is already matched: false positive
        (0, 0.7, 50, 10, 59, 19),  # B is difficult: ignored
        (1, 0.6, 10, 10, 19, 19),  # a class without ground truth
    ),
    make_detections(
        (0, 0.6, 100, 100, 109, 109),  # no object there: false positive
        (0, 0.4, 10, 10, 19, 19),  # true positive
    ),
]
CLASSES = ["a", "without truth", "never found"]


def test_voc_metrics_equal_the_hand_worked_example():
    metrics = evaluate(SAMPLES, DETECTIONS, CLASSES).metrics
    a = metrics["per_class"]["a"]
    # Four objects count. True, false, false, true positive: recall 1/4 1/4 1/4 2/4, precision
    # 1 1/2 1/3 2/4, its envelope 1 1/2 1/2 1/2.
    assert a["ground_truths"] == 4
    assert a["detections"] == 5
    assert a["ap"] == pytest.approx(1 / 4 * 1 + 1 / 4 * 1 / 2, abs=1e-9)
    # Precision is 1 at recall 0, 0.1, 0.2; 1/2 at 0.3, 0.4, 0.5; and 0 at the other five.
    assert a["ap_11pt"] == pytest.approx((3 * 1 + 3 * 1 / 2) / 11, abs=1e-9)
    # One of the three detections with a score of at least 0.5 is a true positive.
    assert a["precision"] == pytest.approx(1 / 3, abs=1e-9)
    assert a["recall"] == pytest.approx(1 / 4, abs=1e-9)
    assert a["f1"] == pytest.approx(2 * (1 / 3) * (1 / 4) / (1 / 3 + 1 / 4), abs=1e-9)
    # F1 is 2 * 1 / (1 + 4) at 0.9, lower down to 0.6, and 2 * 2 / (4 + 4) at 0.4.
    assert a["best_f1"] == pytest.approx(1 / 2, abs=1e-9)
    assert a["best_f1_score"] == pytest.approx(0.4, abs=1e-6)
    # False positives per image, of two images: 0, 1/2, 1, 1; miss rate 3/4, 3/4, 3/4, 1/2. The
    # first eight reference points, 0.01 to 0.562, have 3/4; the last, 1, has 1/2.
    assert a["lamr"] == pytest.approx(((3 / 4) ** 8 * (1 / 2)) ** (1 / 9), abs=1e-9)
    # The class that is never found counts in the means, the one without ground truth does not.
    assert metrics["voc"]["map"] == pytest.approx((0.375 + 0) / 2, abs=1e-9)
    assert metrics["voc"]["map_11pt"] == pytest.approx((4.5 / 11 + 0) / 2, abs=1e-9)


def test_undefined_metrics_are_null_in_json():
    metrics = evaluate(SAMPLES, DETECTIONS, CLASSES).metrics
    json.dumps(metrics, allow_nan=False)
    assert metrics["per_class"]["without truth"] == {
        "ap": None,
        "ap_11pt": None,
        "coco_ap": None,
        "precision": 0.0,
        "recall": None,
        "f1": None,
        "lamr": None,
        "ground_truths": 0,
        "detections": 1,
        "best_f1": None,
        "best_f1_score": None,
    }
    assert metrics["per_class"]["never found"] == {
        "ap": 0.0,
        "ap_11pt": 0.0,
        "coco_ap": 0.0,
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
        "lamr": 1.0,
        "ground_truths": 1,
        "detections": 0,
        "best_f1": 0.0,
        "best_f1_score": None,
    }
    assert metrics["coco"]["map_large"] is None


@pytest.mark.parametrize("detections", [make_detections(), make_detections((0, 0.9, 1, 1, 5, 5))])
def test_a_set_without_objects_has_no_means(detections):
    metrics = evaluate([make_sample()], [detections], ["a"]).metrics
    assert metrics["voc"] == {"iou": 0.5, "map": None, "map_11pt": None}
    assert set(metrics["coco"].values()) == {None}


def test_seconds_hold_the_given_prediction_time():
    seconds = evaluate(SAMPLES, DETECTIONS, CLASSES, predict_seconds=2.5).metrics["seconds"]
    assert list(seconds) == ["predict", "metric"]
    assert seconds["predict"] == 2.5
    assert seconds["metric"] > 0
