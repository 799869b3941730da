from dataclasses import replace

import numpy as np
import pytest

from nets.inference_network import inference_network
from tests.exported import keras_outputs, metadata_of, random_canvases, small_detector
from utils.errors import JobError
from utils.export.quantizer import CalibrationSet
from utils.inference.engines.session import RuntimeSettings
from utils.inference.metadata import Quantization
from utils.inference.model import load_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

KEPT = ("conv_dw_5", "head_p4_size")


@pytest.fixture(scope="module")
def detector():
    return small_detector()


@pytest.fixture(scope="module")
def images(detector):
    return CalibrationSet(np.uint8(random_canvases(detector, 4)))


@pytest.fixture(scope="module")
def metadata(detector, images):
    return metadata_of(detector, precision="int8", quantization=Quantization(images.calibration))


@pytest.fixture(scope="module")
def quantizer(detector, metadata, images):
    from utils.export.onnx_int8 import Quantizer

    return Quantizer(inference_network(detector), metadata, images)


@pytest.fixture(scope="module")
def whole(quantizer, metadata, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.onnx"
    quantizer.write(metadata, path)
    return path


def optimized(path):
    """The operators that ONNX Runtime computes."""
    from utils.export.onnx_int8 import optimized_nodes

    return [node.op_type for node in optimized_nodes(path)]


def test_all_convolutions_are_integer(whole):
    count = sum(node.op_type == "Conv" for node in onnx.load(whole).graph.node)
    kinds = optimized(whole)
    assert kinds.count("QLinearConv") == count > 40
    assert "Conv" not in kinds
    # The input becomes integers once, and only the twelve parts of the heads become floats again.
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (1, 12)


def test_scores_are_close(whole, detector):
    canvases = random_canvases(detector, 4)
    session = load_model(whole, RuntimeSettings(batch_size=4)).open()
    session.images[:] = canvases
    found, expected = session.run(), keras_outputs(detector, canvases)
    assert np.abs(found["scores"] - expected["scores"]).mean() < 0.02
    assert np.corrcoef(found["scores"].ravel(), expected["scores"].ravel())[0, 1] > 0.95


def test_float_layers(quantizer, metadata, whole, tmp_path):
    path = tmp_path / "partial.onnx"
    kept = replace(metadata, quantization=replace(metadata.quantization, float_layers=KEPT))
    quantizer.write(kept, path)
    assert load_model(path, RuntimeSettings()).metadata == kept
    count = sum(node.op_type == "Conv" for node in onnx.load(path).graph.node)
    kinds = optimized(path)
    assert kinds.count("QLinearConv") == count - 2
    assert kinds.count("Conv") + kinds.count("FusedConv") == 2
    tensors = {each.name: each.data_type for each in onnx.load(path).graph.initializer}
    assert tensors["head_p4_size/kernel"] == tensors["conv_dw_5/steps/kernel"] == 1
    assert tensors["head_p3_size/kernel/quantized"] == onnx.TensorProto.INT8


def test_all_float_layers(quantizer, metadata, detector, tmp_path):
    from utils.export.onnx import build
    from utils.export.onnx_qdq import Wiring

    names = Wiring(build(quantizer._network, metadata).graph).convolutions
    kept = replace(metadata, quantization=replace(metadata.quantization, float_layers=(*names,)))
    quantizer.write(kept, tmp_path / "float.onnx")
    session = load_model(tmp_path / "float.onnx", RuntimeSettings(batch_size=2)).open()
    session.images[:] = canvases = random_canvases(detector)
    expected = keras_outputs(detector, canvases)
    np.testing.assert_allclose(session.run()["scores"], expected["scores"], atol=1e-4)


def test_suppression(quantizer, metadata, tmp_path):
    quantizer.write(replace(metadata, nms=True, batch=2), tmp_path / "nms.onnx")
    session = load_model(tmp_path / "nms.onnx", RuntimeSettings()).open()
    assert session.run()["labels"].shape == (2, 100)


def test_float_convolution_is_an_error(whole):
    from utils.export.onnx_int8 import check_integer_kernels

    with pytest.raises(JobError, match="no integer kernel for convolution conv_99"):
        check_integer_kernels(whole, ["conv1", "conv_99"])


def quantized_convolution(kernel, bias):
    """Quantizes a network of one convolution whose input is in 0..2."""
    from onnx import helper

    from utils.export.onnx_graph import OPSET
    from utils.export.onnx_qdq import quantize

    info = [helper.make_tensor_value_info(name, 1, [1, 1, 1, 1]) for name in ("in", "x", "y", "z")]
    nodes = [
        helper.make_node("Neg", ["in"], ["x"], "x"),
        helper.make_node("Conv", ["x", "kernel", "bias"], ["y"], "y"),
        helper.make_node("Neg", ["y"], ["z"], "z"),
    ]
    constants = [onnx.numpy_helper.from_array(kernel, "kernel")]
    constants.append(onnx.numpy_helper.from_array(bias, "bias"))
    graph = helper.make_graph(nodes, "one", info[:1], info[3:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    result = quantize(model, {"x": (0.0, 2.0), "y": (-1.0, 4.1)}, ["y"])
    return {
        each.name: onnx.numpy_helper.to_array(each).tolist() for each in result.graph.initializer
    }


def test_steps_by_hand():
    kernel = np.float32([1.27, -0.635]).reshape(2, 1, 1, 1)
    found = quantized_convolution(kernel, np.float32([0.1, 0.0]))
    # 255 steps from 0 to 2, and from -1 to 4.1; zero is the 50th step of the latter.
    assert found["x/step"] == pytest.approx(2 / 255) and found["x/zero"] == 0
    assert found["y/step"] == pytest.approx(0.02) and found["y/zero"] == 50
    # 127 steps from 0 to the largest weight of each channel.
    assert found["y/kernel/step"] == pytest.approx([0.01, 0.005])
    assert np.ravel(found["y/kernel/quantized"]).tolist() == [127, -127]
    # 0.1 in steps of 2 / 255 * 0.01.
    assert found["y/bias/quantized"] == [1275, 0]


def test_bias_of_a_channel_without_weights():
    found = quantized_convolution(np.zeros((1, 1, 1, 1), np.float32), np.float32([3.0]))
    bias = found["y/bias/quantized"][0] * found["y/bias/step"][0]
    assert bias == pytest.approx(3.0)


def test_best_range_by_hand():
    from utils.export.onnx_ranges import _best_range

    # All values are used alike, so that cutting some off costs more than finer steps save.
    assert _best_range(np.linspace(-1, 3, 10001), -1.0, 3.0) == (-1.0, 3.0)
    # One in ten thousand is far from the others.
    low, high = _best_range(np.append(np.linspace(0, 1, 10000), 2.0), 0.0, 2.0)
    assert low == 0.0 and 1.0 < high < 2.0


def test_samples_of_many_images_take_no_more_memory(monkeypatch):
    from utils.export import onnx_ranges

    values, counts = np.zeros(2000, np.float32), []
    monkeypatch.setattr(onnx_ranges, "_run", lambda *args: ([values] for _ in args[-1]))
    monkeypatch.setattr(onnx_ranges, "_best_range", lambda found, *_: counts.append(len(found)))
    for images in (1, 200, 201, 1000):
        onnx_ranges.measure_ranges(None, ["x"], range(images))
    assert counts == [1000, 200 * 1000, 201 * 995, 1000 * 200]
