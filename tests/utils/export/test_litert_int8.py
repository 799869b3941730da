import contextlib
import dataclasses
import io
from importlib import import_module

import keras
import numpy as np
import pytest

from tests.exported import (
    keras_outputs,
    metadata_of,
    random_canvases,
    small_detector,
    small_network,
)
from utils.errors import JobError
from utils.export.quantizer import CalibrationSet
from utils.inference.engines.session import RuntimeSettings
from utils.inference.metadata import Quantization
from utils.inference.model import load_model

for package in ("ai_edge_litert", "litert_quantizer"):
    pytest.importorskip(package)
schema = import_module("ai_edge_litert.schema_py_generated")
litert_file = import_module("utils.export.litert_file")
litert_kernels = import_module("utils.export.litert_kernels")
litert_int8 = import_module("utils.export.litert_int8")

BATCH = 2
FLOAT_LAYERS = ("conv_pw_11", "head_p4_size")


@pytest.fixture(scope="module")
def detector():
    return small_detector("v4-tiny")  # it has leaky ReLUs, which litert-quantizer does not know


@pytest.fixture(scope="module")
def images(detector):
    return CalibrationSet(random_canvases(detector, 5).astype(np.uint8))  # no multiple of the batch


@pytest.fixture(scope="module")
def metadata(detector, images):
    calibration = Quantization(images.calibration)
    return metadata_of(detector, batch=BATCH, precision="int8", quantization=calibration)


@pytest.fixture(scope="module")
def files(metadata, images, tmp_path_factory):
    """Paths by name: int8, int16x8 and int8 with float layers."""
    folder = tmp_path_factory.mktemp("int8")
    partly = Quantization(images.calibration, FLOAT_LAYERS)
    variants = {
        "int8": metadata,
        "int16x8": dataclasses.replace(metadata, precision="int16x8"),
        "partly": dataclasses.replace(metadata, quantization=partly),
    }
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        network = small_network("v4-tiny")
        quantizer = litert_int8.Quantizer(network, variants["int16x8"], images)
    assert "processors compute int16x8 in seconds per image" in said.getvalue()
    for name, described in variants.items():
        quantizer.write(described, folder / f"{name}.tflite")
    return {name: folder / f"{name}.tflite" for name in variants}


def read(path):
    return litert_file.read(path.read_bytes())


def kinds(model):
    return [litert_file.kind_of(model, operator) for operator in model.subgraphs[0].operators]


def score_error(detector, path):
    """Root mean square of the difference to Keras."""
    canvases = random_canvases(detector, BATCH)
    session = load_model(path, RuntimeSettings(threads=1)).open()
    session.images[:] = canvases
    difference = session.run()["scores"] - keras_outputs(detector, canvases)["scores"]
    return np.sqrt(np.mean(difference**2))


def test_close_to_keras_with_float_outputs(detector, files):
    assert 0 < score_error(detector, files["int8"]) < 0.01


def test_more_bits_are_more_accurate(detector, files):
    assert score_error(detector, files["int16x8"]) < 0.7 * score_error(detector, files["int8"])


def test_metadata_says_how_it_was_quantized(metadata, files):
    model = load_model(files["partly"], RuntimeSettings())
    assert model.metadata.quantization.float_layers == FLOAT_LAYERS
    assert model.metadata.quantization.calibration == metadata.quantization.calibration


def test_all_convolutions_have_integer_kernels(files):
    model = read(files["int8"])
    tensors = model.subgraphs[0].tensors
    convolutions = list(litert_file.operators(model, "CONV_2D", "DEPTHWISE_CONV_2D"))
    layers = [
        layer
        for layer in small_network("v4-tiny")._flatten_layers()
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
    assert len(convolutions) == len(layers)
    for operator in convolutions:
        image, kernel, bias = (tensors[index] for index in operator.inputs)
        types = [each.type for each in (image, kernel, bias, tensors[operator.outputs[0]])]
        int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
        assert types == [int8, int8, int32, int8]
        assert len(kernel.quantization.scale) == bias.shape[0]  # one per channel


def test_no_useless_conversions(files):
    """The input is quantized once, and two tensors are rescaled for the concatenation."""
    found = kinds(read(files["int8"]))
    assert found.count("QUANTIZE") == 3
    assert found.count("DEQUANTIZE") == 8  # the parts of the head at two levels


def test_leaky_relus_compute_in_integers(files):
    model = read(files["int8"])
    tensors = model.subgraphs[0].tensors
    found = list(litert_file.operators(model, "LEAKY_RELU"))
    assert len(found) == 4
    used = [tensors[index] for each in found for index in (*each.inputs, *each.outputs)]
    assert {tensor.type for tensor in used} == {schema.TensorType.INT8}


def test_float_layers_are_honoured(files):
    model = read(files["partly"])
    tensors = model.subgraphs[0].tensors
    floats = {
        tensors[operator.outputs[0]].name.decode()
        for operator in litert_file.operators(model, "CONV_2D", "DEPTHWISE_CONV_2D")
        if tensors[operator.inputs[1]].type == schema.TensorType.FLOAT32
    }
    assert floats == set(FLOAT_LAYERS)


def test_file_is_small(files):
    parameters = small_network("v4-tiny").count_params()
    # A quarter, and names and scales, which matter only in a network as small as this one.
    assert files["int8"].stat().st_size < 0.35 * 4 * parameters


def test_float_convolutions_are_not_called_int8(files):
    with pytest.raises(JobError, match=r"2 convolutions .* do not compute in int8"):
        litert_kernels.check_kernels(read(files["partly"]), "int8", ())
    with pytest.raises(JobError, match="do not compute in int8"):
        litert_kernels.check_kernels(read(files["int16x8"]), "int8", ())
    with pytest.raises(JobError, match="do not compute in int8, first head_p4_size"):
        litert_kernels.check_kernels(read(files["int8"]), "int8", ("head_p4_size",))


def test_unknown_float_layer(files):
    with pytest.raises(JobError, match="no convolution is named head_p9"):
        litert_kernels.check_kernels(read(files["int8"]), "int8", ("head_p9",))
