from dataclasses import replace

import keras
import numpy as np
import pytest

from nets.inference_network import inference_network
from tests.exported import (
    assert_close,
    keras_outputs,
    metadata_of,
    random_canvases,
    small_detector,
)
from utils.errors import JobError, UserError
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model
from utils.inference.thresholds import Thresholds

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def detector():
    return small_detector()


@pytest.fixture(scope="module")
def metadata(detector):
    return metadata_of(detector)


@pytest.fixture(scope="module")
def exported(detector, metadata, tmp_path_factory):
    """Writes a file, with some fields of the metadata changed, and returns its path."""
    from utils.export.onnx import write

    folder, network = tmp_path_factory.mktemp("onnx"), inference_network(detector)

    def export(**changes):
        path = folder / f"{len([*folder.iterdir()])}.onnx"
        write(network, replace(metadata, **changes), path)
        return path

    return export


def run(path, canvases):
    session = load_model(path, RuntimeSettings(batch_size=len(canvases))).open()
    session.images[:] = canvases
    return {name: value.copy() for name, value in session.run().items()}


def pixels(boxes):
    return boxes * np.float32([96, 64, 96, 64])


def test_free_batch(exported, detector):
    path = exported()
    for count in (1, 3):
        canvases = random_canvases(detector, count)
        assert_close(run(path, canvases), keras_outputs(detector, canvases), (64, 96))


def test_fixed_batch(exported, detector):
    path = exported(batch=3)
    canvases = random_canvases(detector, 3)
    assert_close(run(path, canvases), keras_outputs(detector, canvases), (64, 96))
    session = load_model(path, RuntimeSettings(batch_size=8)).open()
    assert len(session.images) == 3


def test_float16(exported, detector):
    path, exact = exported(precision="float16"), exported()
    canvases = random_canvases(detector)
    assert_close(run(path, canvases), keras_outputs(detector, canvases), (64, 96), 1.0, 5e-3)
    assert path.stat().st_size < 0.6 * exact.stat().st_size


def test_graph_has_layers_and_no_leftovers(exported, detector):
    model = onnx.load(exported())
    kinds = {node.op_type for node in model.graph.node}
    assert kinds.isdisjoint({"Identity", "Pad", "BatchNormalization", "Cast", "Shape"})
    assert sum(node.op_type == "Transpose" for node in model.graph.node) == 1 + 3 * 4
    names = {node.name for node in model.graph.node if node.op_type == "Conv"}
    assert {"conv1", "conv_dw_13", "head_p3_centre", "head_p5_classes"} <= names
    assert [each.name for each in model.graph.input] == ["images"]
    assert {each.name for each in model.graph.output} == {"boxes", "scores"}


@pytest.mark.parametrize(
    "thresholds",
    [Thresholds(0.1, 0.3, 20), Thresholds(0.3, 0.6, 300), Thresholds(0.9999, 0.5, 5)],
    ids=["cut_off", "all", "none"],
)
def test_suppression_equals_keras(exported, detector, thresholds):
    canvases = random_canvases(detector, 3)
    found = run(exported(nms=True, thresholds=thresholds), canvases)
    settings = thresholds.confidence, thresholds.iou, thresholds.max_boxes
    expected = {key: value.numpy() for key, value in detector.detect(canvases, *settings).items()}
    np.testing.assert_array_equal(found["counts"], expected["counts"])
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(pixels(found["boxes"]), expected["boxes"], rtol=1e-4, atol=0.01)
    assert found["labels"].dtype == found["counts"].dtype == np.int32


def test_more_boxes_than_scores(exported, detector):
    # 378 predictions of 3 classes: there cannot be more than 1134 boxes.
    thresholds = Thresholds(0.0, 1.0, 1200)
    found = run(exported(nms=True, thresholds=thresholds), random_canvases(detector, 1))
    assert found["counts"] == [1134]
    assert not found["scores"][0, 1134:].any() and not found["boxes"][0, 1134:].any()


def test_metadata_round_trip(exported, metadata):
    path = exported(batch=2, nms=True)
    assert load_model(path, RuntimeSettings()).metadata == replace(metadata, batch=2, nms=True)


def translated(layer, dtype):
    """Translates a network of one layer; returns its output in the graph."""
    from utils.export.onnx_graph import Graph, Value
    from utils.export.onnx_layers import translate

    images = keras.Input((8, 8, 3), name="images")
    network = keras.Model(images, {"boxes": layer(images)})
    return translate(network, Graph(dtype), Value("images", (None, 8, 8, 3), dtype))["boxes"]


def test_unknown_layer():
    noise = keras.layers.GaussianNoise(1.0, name="noise")
    with pytest.raises(JobError, match="layer noise is a GaussianNoise, which cannot be exported"):
        translated(noise, np.dtype(np.float32))


def test_activation_with_constants_stays_in_float16():
    # The hard sigmoid of Keras 2. Otherwise all weights after it would be stored in float32.
    conv = keras.layers.Conv2D(4, 1, activation=lambda x: keras.ops.clip(0.2 * x + 0.5, 0, 1))
    assert translated(conv, np.dtype(np.float16)).dtype == np.float16


def test_missing_package(monkeypatch):
    import importlib
    import sys

    import utils.export.onnx as module

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="onnx, which is not installed: pip install"):
        importlib.reload(module)
    monkeypatch.undo()
    importlib.reload(module)
