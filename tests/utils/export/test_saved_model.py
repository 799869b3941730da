"""SavedModel computes what the detector computes, and is refused when it is damaged."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.exported import (
    CLASSES,
    assert_predictions_of_keras,
    exporter,
    random_canvases,
    small_detector,
)
from utils.errors import UserError
from utils.export import saved_model
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model
from utils.inference.thresholds import Thresholds

THRESHOLDS = Thresholds(confidence=0.5, iou=0.3, max_boxes=200)
PIXELS = np.float32([96, 64, 96, 64])


@pytest.fixture(scope="module")
def detector():
    return small_detector("v4-tiny")


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return exporter(saved_model.write, tmp_path_factory.mktemp("models"), thresholds=THRESHOLDS)


@pytest.fixture(scope="module")
def plain(export):
    return export("plain")


@pytest.fixture(scope="module")
def suppressing(export):
    return export("nms", nms=True)


def open_model(path, batch_size=1):
    return load_model(path, RuntimeSettings(batch_size)).open()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_any_batch_gives_the_predictions_of_keras(detector, plain, batch_size):
    session = open_model(plain, batch_size)
    assert session.images.shape[0] == batch_size
    assert_predictions_of_keras(session, detector)


def test_suppression_is_that_of_the_detector(detector, suppressing):
    session = open_model(suppressing, batch_size=2)
    session.images[0] = random_canvases(detector, 1)[0]  # the other one stays black
    found = session.run()
    expected = detector.detect(session.images, 0.5, 0.3, 200)
    assert 0 < found["counts"].max() < 200
    for name in ("labels", "counts"):
        assert found[name].dtype == np.int32
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_allclose(found["boxes"] * PIXELS, expected["boxes"], atol=0.01)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)


def test_plain_tensorflow_runs_the_signature(plain):
    signature = tf.saved_model.load(str(plain)).signatures["serving_default"]
    found = signature(images=tf.zeros((2, 64, 96, 3)))
    assert {name: each.shape[0] for name, each in found.items()} == {"boxes": 2, "scores": 2}


def test_metadata_is_beside_the_graph(plain):
    model = load_model(plain, RuntimeSettings())
    assert model.metadata.classes == tuple(CLASSES)
    assert json.loads((plain / "metadata.json").read_text())["input_size"] == [64, 96]


def damage(model, tmp_path, change):
    folder = tmp_path / "damaged"
    shutil.copytree(model, folder)
    change(folder)
    return folder


def cut(folder):
    graph = folder / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:5000])


def shrink(folder):
    document = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({**document, "input_size": [32, 32]}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "is no SavedModel of export.py, or it is damaged"),
        (shrink, "contradicts its metadata: images has shape"),
        (lambda folder: (folder / "metadata.json").unlink(), "has no swapyolo metadata"),
        (lambda folder: (folder / "metadata.json").write_bytes(b"\xff"), "is damaged"),
    ],
)
def test_damaged_folders_are_refused(plain, tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        open_model(damage(plain, tmp_path, change))
    assert "\n" not in str(caught.value)
