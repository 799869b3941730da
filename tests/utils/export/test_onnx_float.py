from dataclasses import replace

import numpy as np
import pytest

from nets.inference_network import inference_network
from tests.exported import CLASSES, keras_outputs, random_canvases, small_detector
from utils.errors import JobError, UserError
from utils.inference.engines.session import RuntimeSettings
from utils.inference.metadata import Metadata
from utils.inference.model import load_model
from utils.inference.thresholds import Thresholds

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def detector():
    return small_detector()


@pytest.fixture(scope="module")
def metadata(detector):
    return Metadata(
        "mobilenetv1", 0.25, "v4", tuple(CLASSES), detector.version.anchors, (64, 96), weights="ab"
    )


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


def check(found, expected, pixel, score):
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(
        pixels(found["boxes"]), pixels(expected["boxes"]), rtol=pixel / 100, atol=pixel
    )
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=score)
    assert np.ptp(expected["scores"]) > 0.05


def test_free_batch(exported, detector):
    path = exported()
    for count in (1, 3):
        canvases = random_canvases(detector, count)
        check(run(path, canvases), keras_outputs(detector, canvases), 0.01, 1e-4)


def test_fixed_batch(exported, detector):
    path = exported(batch=3)
    canvases = random_canvases(detector, 3)
    check(run(path, canvases), keras_outputs(detector, canvases), 0.01, 1e-4)
    session = load_model(path, RuntimeSettings(batch_size=8)).open()
    assert len(session.images) == 3


def test_float16(exported, detector):
    path, exact = exported(precision="float16"), exported()
    canvases = random_canvases(detector)
    check(run(path, canvases), keras_outputs(detector, canvases), 1.0, 5e-3)
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


def test_unknown_layer():
    import keras

    from utils.export.onnx_graph import Graph, Value
    from utils.export.onnx_layers import translate

    x = keras.Input((8, 8, 3), name="images")
    network = keras.Model(x, {"boxes": keras.layers.GaussianNoise(1.0, name="noise")(x)})
    with pytest.raises(JobError, match="layer noise is a GaussianNoise"):
        translate(network, Graph(), Value("images", (None, 8, 8, 3)))


def test_missing_package(monkeypatch):
    import importlib
    import sys

    import utils.export.onnx as module

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="onnx, which is not installed: pip install"):
        importlib.reload(module)
    monkeypatch.undo()
    importlib.reload(module)
