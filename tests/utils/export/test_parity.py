"""The differences of exported models to Keras, with sessions that return chosen outputs."""

import numpy as np
import pytest

from tests.fake_runtime import make_metadata
from utils.errors import JobError
from utils.export.parity import Errors, measure_parity
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import ExportedModel
from utils.inference.thresholds import Thresholds

SIZE = (64, 96)
CORNERS = np.float32([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.5, 0.25, 1]])


class Session:
    """Returns the same outputs for every image, plus the first pixel divided by 1000."""

    description = "fake"

    def __init__(self, batch, **outputs):
        self.images = np.zeros((batch, *SIZE, 3), np.float32)
        self.outputs = {name: np.float32(values) for name, values in outputs.items()}

    def run(self):
        outputs = {
            name: np.stack([values] * len(self.images)) for name, values in self.outputs.items()
        }
        shift = self.images[:, 0, 0, 0] / 1000
        outputs["scores"] += shift.reshape(-1, *[1] * (outputs["scores"].ndim - 1))
        return outputs


def compare(found, expected, count=1, **options):
    model = ExportedModel("m.onnx", make_metadata(**options), RuntimeSettings())
    canvases = np.zeros((count, *SIZE, 3), np.uint8)
    return measure_parity({"m": (model, found)}, expected, canvases)["m"]


def test_largest_differences_are_found():
    expected = Session(2, boxes=CORNERS, scores=[[0.9], [0.5], [0.3]])
    moved = CORNERS + np.float32([[0, 0, 0.01, 0], [0, -0.02, 0, 0], [0, 0, 0, 0]])
    found = Session(3, boxes=moved, scores=[[0.9], [0.5], [0.25]])
    errors = compare(found, expected, count=5)
    assert errors.box == pytest.approx(0.02 * 64, rel=1e-4)
    assert errors.score == pytest.approx(0.05, rel=1e-4)


def test_boxes_of_low_scores_are_not_compared():
    expected = Session(1, boxes=CORNERS, scores=[[0.9], [0.009], [0.0]])
    found = Session(1, boxes=CORNERS * [[1], [3], [50]], scores=[[0.9], [0.012], [0.0]])
    assert compare(found, expected) == Errors(0.0, pytest.approx(0.003, rel=1e-3))


def test_no_box_error_without_predictions():
    outputs = {"boxes": CORNERS, "scores": np.zeros((3, 1))}
    assert compare(Session(1, **outputs), Session(1, **outputs)) == Errors(None, 0.0)


def test_each_image_is_compared_with_itself():
    canvases = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((*SIZE, 3), np.uint8)
    outputs = {"boxes": CORNERS, "scores": [[0.9], [0.5], [0.3]]}
    model = ExportedModel("m.onnx", make_metadata(), RuntimeSettings())
    sessions = {"m": (model, Session(2, **outputs))}
    assert measure_parity(sessions, Session(3, **outputs), canvases)["m"] == Errors(0.0, 0.0)


def test_nan_is_an_error_that_names_the_file():
    outputs = {"boxes": CORNERS, "scores": [[0.9], [0.5], [0.3]]}
    broken = Session(1, boxes=CORNERS * np.nan, scores=outputs["scores"])
    with pytest.raises(JobError, match=r"m\.onnx computes NaN"):
        compare(broken, Session(1, **outputs))


def baked(boxes, scores, labels):
    """Makes the outputs of a model that suppresses boxes itself, filled up to four."""
    fill = 4 - len(scores)
    return Session(
        1,
        boxes=np.pad(np.float32(boxes), ((0, fill), (0, 0))),
        scores=np.pad(scores, (0, fill)),
        labels=np.pad(labels, (0, fill)),
        counts=len(scores),
    )


def test_detections_of_a_model_that_suppresses_boxes_are_compared():
    # Keras finds all three. The model finds the first at another place, and not the third, of
    # which Keras' score is 0.1 above the threshold.
    expected = Session(1, boxes=CORNERS, scores=[[0.9], [0.8], [0.6]])
    moved = CORNERS[[1, 0]] + np.float32([[0, 0, 0, 0], [0, 0, 0.01, 0]])
    found = baked(moved, [0.8, 0.88], [0, 0])
    errors = compare(found, expected, nms=True, thresholds=Thresholds(0.5, 0.3, 4))
    assert errors.box == pytest.approx(0.96, rel=1e-4)
    assert errors.score == pytest.approx(0.1, rel=1e-4)


def test_detections_of_another_class_are_no_match():
    expected = Session(1, boxes=CORNERS[:1], scores=[[0.9, 0.0]])
    found = baked(CORNERS[:1], [0.7], [1])
    options = {"nms": True, "thresholds": Thresholds(0.5, 0.3, 4), "classes": ("a", "b")}
    errors = compare(found, expected, **options)
    assert errors == Errors(None, pytest.approx(0.4, rel=1e-4))
