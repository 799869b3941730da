"""The engine of exported models, with sessions that return chosen outputs."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.fake_runtime import make_metadata
from utils.inference.detections import NanError
from utils.inference.engines.exported import ExportedEngine
from utils.inference.thresholds import DEFAULT_THRESHOLDS, Thresholds

BOXES = np.float32([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.5, 0.25, 1]])
PIXELS = [[0, 0, 48, 32], [48, 32, 96, 64], [0, 32, 24, 64]]


def engine(outputs, thresholds=DEFAULT_THRESHOLDS, labels=None, **options):
    """Makes an engine on two images, which both have the same outputs."""
    outputs = {name: np.stack([np.float32(value)] * 2) for name, value in outputs.items()}
    images = np.zeros((2, 64, 96, 3), np.float32)
    session = SimpleNamespace(images=images, run=lambda: outputs)
    return ExportedEngine(session, make_metadata(**options), thresholds, labels), outputs


def baked(thresholds=DEFAULT_THRESHOLDS, labels=None):
    """Finds boxes with a model that suppresses them itself, and gives three of at most four."""
    outputs = {
        "boxes": np.pad(BOXES, ((0, 1), (0, 0))),
        "scores": [0.9, 0.8, 0.6, 0],
        "labels": [0, 1, 0, 0],
        "counts": 3,
    }
    return engine(outputs, thresholds, labels, nms=True)[0].detect(2)[1]


def test_boxes_are_in_pixels_of_the_canvas():
    found = engine({"boxes": BOXES, "scores": [[0.6], [0.9], [0.1]]})[0].detect(1)
    assert len(found) == 1
    assert found[0].boxes.tolist() == [PIXELS[1], PIXELS[0]]


def test_thresholds_only_drop_detections_of_a_model_that_suppresses_boxes():
    assert baked().boxes.tolist() == PIXELS
    assert not baked().at_limit
    assert baked(Thresholds(confidence=0.7)).boxes.tolist() == PIXELS[:2]
    assert baked(Thresholds(max_boxes=1)).boxes.tolist() == PIXELS[:1]
    assert baked(Thresholds(max_boxes=1)).at_limit
    assert baked(labels=[1]).boxes.tolist() == PIXELS[1:2]


@pytest.mark.parametrize("name", ["boxes", "scores"])
def test_nan_is_an_error_that_names_its_image(name):
    made, outputs = engine({"boxes": BOXES, "scores": [[0.6], [0.9], [0.1]]})
    outputs[name][1, 2, 0] = np.nan
    made.detect(1)  # the second image only fills up the batch
    with pytest.raises(NanError) as caught:
        made.detect(2)
    assert caught.value.index == 1
