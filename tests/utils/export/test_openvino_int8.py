"""Models of OpenVINO whose convolutions are computed in integers."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from nets.inference_network import inference_network
from tests.exported import (
    keras_outputs,
    make_detector,
    metadata_of,
    random_canvases,
    small_detector,
    small_network,
)
from utils.errors import JobError
from utils.export import openvino, openvino_int8
from utils.export.quantizer import CalibrationSet
from utils.inference.engines.openvino import import_openvino
from utils.inference.engines.session import RuntimeSettings
from utils.inference.metadata import Quantization
from utils.inference.model import load_model

# Importing them by pytest.importorskip would send the usage events of OpenVINO.
pytestmark = pytest.mark.skipif(
    None in map(importlib.util.find_spec, ("openvino", "nncf")),
    reason="openvino or nncf is not installed",
)
FLOAT = ("conv1", "conv_pw_11", "head_p4_size")


@pytest.fixture(scope="module")
def detector():
    return small_detector("v4-tiny")


@pytest.fixture(scope="module")
def images(detector):
    return CalibrationSet(random_canvases(detector, 4).astype(np.uint8))


@pytest.fixture(scope="module")
def metadata(detector, images):
    calibration = Quantization(images.calibration)
    return metadata_of(detector, precision="int8", quantization=calibration)


@pytest.fixture(scope="module")
def quantizer(metadata, images):
    return openvino_int8.Quantizer(small_network("v4-tiny"), metadata, images)


def with_float_layers(metadata, names):
    return replace(metadata, quantization=replace(metadata.quantization, float_layers=names))


def kernel_types(path):
    """Types of the kernels of all convolutions as they are stored, by name."""
    model = import_openvino().Core().read_model(path / "detector.xml")
    types = {}
    for node in openvino.convolutions_in(model):
        source = node.input_value(1).get_node()
        while source.get_type_name() != "Constant":
            source = source.input_value(0).get_node()
        types[node.get_friendly_name()] = source.get_element_type().get_type_name()
    return types


def scores_of(path, canvases):
    session = load_model(path, RuntimeSettings(len(canvases), precision="float32")).open()
    session.images[:] = canvases
    return session.run()["scores"].copy()


def test_all_convolutions_are_integers_and_scores_stay_close(
    quantizer, metadata, detector, images, tmp_path, capsys
):
    path = tmp_path / "int8"
    quantizer.write(metadata, path)
    assert set(kernel_types(path).values()) == {"i8"}
    assert capsys.readouterr().out == ""
    expected = keras_outputs(detector, images.canvases)["scores"]
    assert np.abs(scores_of(path, images.canvases) - expected).max() < 0.02


def test_float_layers_stay_in_float(quantizer, metadata, tmp_path):
    path = tmp_path / "mixed"
    quantizer.write(with_float_layers(metadata, FLOAT), path)
    types = kernel_types(path)
    assert {name for name, kind in types.items() if kind == "f32"} == set(FLOAT)
    assert load_model(path, RuntimeSettings()).metadata.quantization.float_layers == FLOAT


def test_with_all_layers_in_float_nothing_is_rounded(
    quantizer, metadata, detector, images, tmp_path
):
    path = tmp_path / "float"
    names = tuple(kernel_types_of_float(quantizer))
    quantizer.write(with_float_layers(metadata, names), path)
    expected = keras_outputs(detector, images.canvases)["scores"]
    np.testing.assert_allclose(scores_of(path, images.canvases), expected, atol=1e-5)


def kernel_types_of_float(quantizer):
    return [node.get_friendly_name() for node in openvino.convolutions_in(quantizer._float)]


def test_a_convolution_in_float_is_found(quantizer, metadata, tmp_path):
    path = tmp_path / "mixed"
    quantizer.write(with_float_layers(metadata, FLOAT[:1]), path)
    with pytest.raises(JobError, match=r"1 of 2 convolutions .* the first is conv1"):
        openvino_int8.check_kernels(path / "detector.xml", ["conv_dw_1", "conv1"])


def test_squeeze_and_excite_blocks_compute_in_float_with_integer_kernels(tmp_path, capsys):
    detector = make_detector("mobilenetv3_small", "v4-tiny", (64, 64))
    for layer in detector.backbone.layers:
        if "squeeze_excite" in layer.name:  # nncf finds these blocks by their offsets
            layer.bias.assign(np.full(layer.bias.shape, 0.1))
    images = CalibrationSet(random_canvases(detector, 2).astype(np.uint8))
    quantization = Quantization(images.calibration)
    metadata = metadata_of(detector, precision="int8", quantization=quantization)
    quantizer = openvino_int8.Quantizer(inference_network(detector), metadata, images)
    path = tmp_path / "model_openvino"
    quantizer.write(metadata, path)
    names = load_model(path, RuntimeSettings()).metadata.quantization.float_layers
    assert len(names) == 2 * 9  # nine blocks (Howard et al. 2019, table 2)
    assert all("squeeze_excite" in name for name in names)
    assert "18 convolutions of squeeze-and-excite blocks compute" in capsys.readouterr().err
    assert set(kernel_types(path).values()) == {"i8"}
    expected = keras_outputs(detector, images.canvases)["scores"]
    assert np.abs(scores_of(path, images.canvases) - expected).max() < 0.02


def test_a_rounded_kernel_is_within_half_a_level_of_its_channel():
    runtime = import_openvino()
    from openvino import opset15 as ops

    kernel = np.float32([1.27, -0.5, 0.004, 0, 0, 0, 12.7, 0.04, -0.16]).reshape(3, 3, 1, 1)
    image = ops.parameter([1, 3, 1, 1], np.float32)
    convolution = ops.convolution(image, ops.constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
    openvino_int8._round_kernel(convolution)
    model = runtime.Model([convolution], [image])
    # On some processors, OpenVINO would choose bfloat16.
    compiled = runtime.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    identity = [
        next(iter(compiled(each).values())).ravel()
        for each in np.eye(3, dtype=np.float32).reshape(3, 1, 3, 1, 1)
    ]
    expected = [[1.27, -0.5, 0], [0, 0, 0], [12.7, 0, -0.2]]  # steps of 0.01, none and 0.1
    np.testing.assert_allclose(np.transpose(identity), expected, atol=1e-6)
