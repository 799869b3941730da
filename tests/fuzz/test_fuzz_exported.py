"""Metadata of exported models, which are read without their runtimes."""

import json

import onnx
import pytest
from onnx import TensorProto, helper

from tests.fuzzing import changed, changed_xml, damaged, judge
from utils.inference.engines.session import RuntimeSettings, count_predictions, expected_shapes
from utils.inference.metadata import ENTRY, Metadata, from_text, to_text
from utils.inference.model import load_model

ANCHORS = (((1.0, 2.0),) * 3,) * 2
METADATA = Metadata("mobilenetv1", 0.25, "v4-tiny", ("cat", "红"), ANCHORS, (32, 64), "ab", 1)
PREDICTIONS = count_predictions(METADATA)


def make_onnx(path):
    """Writes a model that returns constants."""
    shapes = {"boxes": (1, PREDICTIONS, 4), "scores": (1, PREDICTIONS, 2)}
    values = {
        name: helper.make_tensor(name, TensorProto.FLOAT, shape, [0.5] * shape[1] * shape[2])
        for name, shape in shapes.items()
    }
    nodes = [helper.make_node("Constant", [], [name], value=each) for name, each in values.items()]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 32, 64, 3))
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    graph = helper.make_graph(nodes, "detector", [images], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {ENTRY: to_text(METADATA)})
    onnx.save(model, path)
    return path


def make_openvino(path):
    """Writes an XML file with the parts that are read without the runtime."""
    text = to_text(METADATA).replace("&", "&amp;").replace('"', "&quot;")
    path.write_text(
        '<?xml version="1.0"?><net name="d" version="11"><layers><layer id="0" name="images"/>'
        f'</layers><rt_info><{ENTRY} value="{text}"/></rt_info></net>',
        encoding="utf-8",
    )
    return path


def make_litert(path):
    """Writes the parts of a flatbuffer that are read without the runtime."""
    import flatbuffers

    build = flatbuffers.Builder()
    text, name = build.CreateByteVector(to_text(METADATA).encode()), build.CreateString(ENTRY)

    def table(*fields):
        build.StartObject(8)
        for number, add, value in fields:
            add(number, value, 0)
        return build.EndObject()

    def vector(*tables):
        build.StartVector(4, len(tables), 4)
        for each in tables:
            build.PrependUOffsetTRelative(each)
        return build.EndVector()

    offset, number = build.PrependUOffsetTRelativeSlot, build.PrependUint32Slot
    buffers = vector(table((0, offset, text)))
    metadata = vector(table((0, offset, name), (1, number, 0)))
    build.Finish(table((4, offset, buffers), (6, offset, metadata)), b"TFL3")
    path.write_bytes(bytes(build.Output()))
    return path


MODELS = {"a.onnx": make_onnx, "a.xml": make_openvino, "a.tflite": make_litert}


def check_metadata(metadata):
    assert metadata.classes and all(isinstance(name, str) for name in metadata.classes)
    shapes = expected_shapes(metadata)
    assert all(side is None or side > 0 for shape in shapes.values() for side in shape)


@pytest.mark.parametrize("name", MODELS)
def test_metadata_of_damaged_models(fuzz, tmp_path, name):
    path = MODELS[name](tmp_path / name)
    files = [path.read_bytes()]
    assert load_model(path, RuntimeSettings()).metadata == METADATA

    def check(data):
        path.write_bytes(data)
        model = judge(load_model, path, RuntimeSettings())
        if model is not None:
            check_metadata(model.metadata)

    data = damaged(files, [ENTRY.encode(), b"r\x00", b"&quot;", b"TFL3", b'"format": 1'])
    if name == "a.xml":
        data |= changed_xml(files[0].decode())
    fuzz(check, data=data)


def test_changed_metadata(fuzz, tmp_path):
    def check(document):
        metadata = judge(from_text, json.dumps(document), tmp_path)
        if metadata is not None:
            check_metadata(metadata)

    fuzz(check, document=changed(json.loads(to_text(METADATA))))
