import dataclasses
import json
import os
from importlib import import_module

import numpy as np
import pytest

from tests.exported import CLASSES
from utils.errors import UserError
from utils.inference.engines.onnx_metadata import read_text
from utils.inference.engines.session import RuntimeSettings, expected_shapes
from utils.inference.metadata import ENTRY, Metadata, to_text
from utils.inference.model import load_model

ANCHORS = ((((10, 10),) * 3),)
METADATA = Metadata("mobilenetv1", 0.25, "v4", tuple(CLASSES), ANCHORS, (32, 32), weights="ab")


def test_usage_events_are_disabled():
    import_module("utils.inference.engines.onnx")
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def field(number, content):
    """A field of Protocol Buffers that has bytes."""
    size, length = len(content), []
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def model(text=None, graph=b"graph" * 100, key=ENTRY):
    """The bytes of an ONNX file: version, producer, graph and metadata."""
    parts = b"\x08\x08" + field(2, b"swapyolo") + field(7, graph)
    if text is None:
        return parts
    entry = field(1, key.encode()) + field(2, text.encode())
    return parts + field(8, b"\x10\x11") + field(14, entry)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.onnx"


def test_metadata_is_read_without_the_graph(path):
    path.write_bytes(model("{é}"))
    assert read_text(path) == "{é}"
    path.write_bytes(model("{}", key="author"))
    assert read_text(path) is None
    path.write_bytes(model())
    assert read_text(path) is None


def test_metadata_of_the_library(path):
    onnx = pytest.importorskip("onnx")
    from utils.export.onnx_graph import describe

    written = onnx.ModelProto(ir_version=8, producer_name="x" * 200)
    written.graph.name = "y" * 300
    describe(written, METADATA)
    path.write_bytes(written.SerializeToString())
    assert read_text(path) == to_text(METADATA)


@pytest.mark.parametrize("length", [1, 30, 522, -1])
def test_truncated_file(path, length):
    path.write_bytes(model("{}")[:length])
    with pytest.raises(UserError, match=r"a\.onnx is truncated, copy it again"):
        read_text(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"# text", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x08\x08", b"\x08\x08\xff\xff\xff"],
)
def test_foreign_file(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.onnx (is no ONNX file|is truncated)"):
        load_model(path, RuntimeSettings())


def test_file_without_metadata_and_of_a_newer_format(path):
    path.write_bytes(model())
    with pytest.raises(UserError, match="has no swapyolo metadata"):
        load_model(path, RuntimeSettings())
    document = json.loads(to_text(METADATA))
    path.write_bytes(model(json.dumps({**document, "format": 2})))
    with pytest.raises(UserError, match="metadata of format 2"):
        load_model(path, RuntimeSettings())


def test_damaged_graph(path):
    pytest.importorskip("onnxruntime")
    path.write_bytes(model(to_text(METADATA)))
    with pytest.raises(UserError, match="cannot be read by ONNX Runtime, export the run again"):
        load_model(path, RuntimeSettings()).open()


def write_network(path, described=METADATA, size=(32, 32)):
    """Writes a file whose boxes are 0 and whose scores are the means of the channels."""
    onnx = pytest.importorskip("onnx")
    from utils.export.onnx_graph import FLOAT32, INT64, Graph, describe

    graph = Graph()
    zeros = graph.constant(np.zeros((1, 3, 4)), FLOAT32)
    (means,) = graph.add("ReduceMean", ["images"], "means", axes=[1, 2], keepdims=0)
    rows = graph.constant([1], INT64)
    (row,) = graph.add("Unsqueeze", [means, rows], "row")
    graph.add("Concat", [row, row, row], "scores", axis=1)
    (column,) = graph.add("Unsqueeze", [row, rows], "column")
    (column,) = graph.add("ReduceMin", [column], "least", axes=[2, 3], keepdims=0)
    (column,) = graph.add("Unsqueeze", [column, rows], "least_column")
    graph.add("Mul", [column, zeros], "boxes")
    built = graph.to_model(dataclasses.replace(described, input_size=size))
    describe(built, described)
    onnx.checker.check_model(built, full_check=True)
    path.write_bytes(built.SerializeToString())


def test_damaged_name_of_an_operation(path):
    pytest.importorskip("onnxruntime")
    write_network(path)
    path.write_bytes(path.read_bytes().replace(b"ReduceMin", b"\xf3educeMin"))
    with pytest.raises(UserError, match="cannot be read by ONNX Runtime, export the run again"):
        load_model(path, RuntimeSettings()).open()


@pytest.mark.parametrize("runtime", ["onnxruntime", "opencv"])
def test_session(path, runtime, monkeypatch, capsys):
    pytest.importorskip(runtime.replace("opencv", "cv2"))
    write_network(path)
    if runtime == "opencv":
        monkeypatch.setattr("utils.inference.engines.onnx.find_spec", lambda name: None)
    opened = load_model(path, RuntimeSettings(batch_size=2, threads=1)).open()
    assert ("note: " in capsys.readouterr().err) == (runtime == "opencv")
    assert opened.description.endswith(", 1 thread")
    assert opened.images.shape == (2, 32, 32, 3) and opened.images.dtype == np.float32
    for value in (3.0, 5.0):
        opened.images[1] = value
        found = opened.run()
        assert found["boxes"].shape == (2, 3, 4)
        np.testing.assert_allclose(found["scores"][:, 0], [[0] * 3, [value] * 3])


@pytest.mark.parametrize("runtime", ["onnxruntime", "opencv"])
def test_contradicting_input_size(path, runtime, monkeypatch):
    pytest.importorskip(runtime.replace("opencv", "cv2"))
    write_network(path, dataclasses.replace(METADATA, input_size=(64, 64)), size=(32, 32))
    if runtime == "opencv":
        monkeypatch.setattr("utils.inference.engines.onnx.find_spec", lambda name: None)
    with pytest.raises(UserError, match="contradicts its metadata"):
        load_model(path, RuntimeSettings()).open()


def test_output_of_another_type(path):
    # Programs that convert files to float16 keep the metadata.
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    write_network(path)
    converted = onnx.load(path)
    half = onnx.TensorProto.FLOAT16
    (scores,) = (node for node in converted.graph.node if node.output[0] == "scores")
    scores.output[0] = "exact"
    converted.graph.node.append(onnx.helper.make_node("Cast", ["exact"], ["scores"], to=half))
    for output in converted.graph.output:
        if output.name == "scores":
            output.type.tensor_type.elem_type = half
    onnx.save(converted, path)
    with pytest.raises(UserError, match=r"scores in tensor\(float16\) instead of float32, export"):
        load_model(path, RuntimeSettings()).open()


def test_opencv_cannot_read(path, monkeypatch):
    path.write_bytes(model(to_text(METADATA)))
    monkeypatch.setattr("utils.inference.engines.onnx.find_spec", lambda name: None)
    with pytest.raises(UserError, match="cannot be run by OpenCV, install ONNX Runtime"):
        load_model(path, RuntimeSettings()).open()


def test_opencv_refuses_sigmoids_in_integers(path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    write_network(path, dataclasses.replace(METADATA, precision="int8"))
    network = onnx.load(path)
    constants = (np.float32(1 / 255), "step"), (np.uint8(0), "zero")
    for value, name in constants:
        network.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    means = next(node for node in network.graph.node if "images" in node.input)
    means.input[0] = "restored"
    for node in (
        onnx.helper.make_node("DequantizeLinear", ["integers", "step", "zero"], ["restored"]),
        onnx.helper.make_node(
            "QuantizeLinear", ["gate", "step", "zero"], ["integers"], "gate/quantized"
        ),
        onnx.helper.make_node("Sigmoid", ["images"], ["gate"], "gate"),
    ):
        network.graph.node.insert(0, node)
    onnx.save(network, path)
    monkeypatch.setattr("utils.inference.engines.onnx.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"sigmoids in INT8, which OpenCV .* computes wrongly"):
        load_model(path, RuntimeSettings()).open()


def test_a_model_that_fails_when_it_runs(path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    metadata = dataclasses.replace(METADATA, batch=1)
    shapes = expected_shapes(metadata)
    images, *outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    # The largest pixel is the index of the only row of each table.
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["most"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Cast", ["most"], ["row"], to=TensorProto.INT64),
    ]
    tables = []
    for name in ("boxes", "scores"):
        values = np.zeros(shapes[name], np.float32)
        tables.append(onnx.numpy_helper.from_array(values, f"{name} table"))
        nodes.append(helper.make_node("Gather", [f"{name} table", "row"], [name]))
    graph = helper.make_graph(nodes, "detector", [images], outputs, tables)
    opset = helper.make_opsetid("", 13)
    written = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    helper.set_model_props(written, {ENTRY: to_text(metadata)})
    onnx.save(written, path)

    session = load_model(path, RuntimeSettings(threads=1)).open()
    assert not session.run()["boxes"].any()
    session.images[:] = 9
    message = r"a\.onnx cannot be run, export the run again: .*indices element out of data bounds"
    with pytest.raises(UserError, match=message):
        session.run()
