import dataclasses
import sys
from importlib import import_module

import numpy as np
import pytest

from tests.exported import (
    CLASSES,
    keras_outputs,
    metadata_of,
    random_canvases,
    small_detector,
    small_network,
)
from utils.errors import JobError, UserError
from utils.inference.engines.litert import read_text
from utils.inference.engines.session import RuntimeSettings
from utils.inference.metadata import from_text
from utils.inference.model import load_model

runtime = pytest.importorskip("ai_edge_litert.interpreter")
litert = import_module("utils.export.litert")
litert_file = import_module("utils.export.litert_file")

BATCH = 2


@pytest.fixture(scope="module")
def detector():
    return small_detector("v4-tiny")


@pytest.fixture(scope="module")
def metadata(detector):
    return metadata_of(detector, classes=(*CLASSES[:2], "赤い車"), batch=BATCH)


@pytest.fixture(scope="module")
def path(metadata, tmp_path_factory):
    path = tmp_path_factory.mktemp("litert") / "detector.tflite"
    litert.write(small_network("v4-tiny"), metadata, path)
    return path


@pytest.fixture(scope="module")
def model(path):
    return litert_file.read(path.read_bytes())


def errors(detector, path):
    """Largest difference to Keras: of boxes that touch the image in pixels, and of scores."""
    canvases = random_canvases(detector, BATCH)
    session = load_model(path, RuntimeSettings(threads=1)).open()
    session.images[:] = canvases
    found, expected = session.run(), keras_outputs(detector, canvases)
    height, width = detector.input_size
    scale = np.float32([width, height] * 2)
    boxes = np.clip(found["boxes"], 0, 1) - np.clip(expected["boxes"], 0, 1)
    return np.abs(boxes * scale).max(), np.abs(found["scores"] - expected["scores"]).max()


def test_same_as_keras(detector, path):
    box, score = errors(detector, path)
    assert box < 0.01
    assert score < 1e-4


def test_float16_is_half_as_large_and_close_to_keras(detector, metadata, path, tmp_path):
    half = tmp_path / "half.tflite"
    described = dataclasses.replace(metadata, precision="float16")
    litert.write(small_network("v4-tiny"), described, half)
    box, score = errors(detector, half)
    assert 0.01 < box < 1
    assert score < 0.005
    assert half.stat().st_size < 0.55 * path.stat().st_size


def test_metadata_travels_inside(metadata, path):
    assert from_text(read_text(path), path) == metadata


def test_plain_interpreter_runs_it_by_signature(detector, path):
    interpreter = runtime.Interpreter(str(path))
    (signature,) = interpreter.get_signature_list()
    assert signature == "serving_default"
    run = interpreter.get_signature_runner(signature)
    canvases = random_canvases(detector, BATCH)
    outputs = run(images=canvases)
    assert set(outputs) == {"boxes", "scores"}
    assert outputs["boxes"].dtype == outputs["scores"].dtype == np.float32
    expected = keras_outputs(detector, canvases)["scores"]
    np.testing.assert_allclose(outputs["scores"], expected, atol=1e-4)


def test_constants_are_aligned(path, model):
    data = path.read_bytes()
    kernels = [buffer.data for buffer in model.buffers if buffer.data is not None]
    large = [kernel.tobytes() for kernel in kernels if kernel.size > 1000]
    assert len(large) > 20
    assert {data.find(kernel) % 16 for kernel in large} == {0}


def test_convolutions_have_the_names_of_their_layers(model):
    names = {tensor.name.decode() for tensor in model.subgraphs[0].tensors}
    assert {"conv1", "conv_dw_13", "head_p4_centre", "head_p5_classes"} <= names


def test_only_what_all_devices_support(model):
    tensor = model.subgraphs[0].tensors[5]
    shape, tensor.shape = tensor.shape, [1, 2, 3, 4, 5]
    with pytest.raises(JobError, match="rank 5"):
        litert_file.pack(model)
    tensor.shape = shape
    model.operatorCodes[0].customCode = b"FlexAdd"
    with pytest.raises(JobError, match="custom operators"):
        litert_file.pack(model)
    model.operatorCodes[0].customCode = None


def test_missing_package_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "utils.export.litert_file")
    monkeypatch.delitem(sys.modules, "utils.export.litert")
    monkeypatch.delattr("utils.export.litert_file")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(UserError, match="pip install -r requirements-export"):
        import_module("utils.export.litert")
