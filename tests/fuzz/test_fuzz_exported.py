"""Exported models: their metadata, and their runtimes, each in a process of its own."""

import json
import multiprocessing
import re

import onnx
import pytest
from onnx import TensorProto, helper

from tests.fuzzing import SECONDS, changed, changed_xml, check_line, damaged, judge
from utils.errors import UserError
from utils.inference.engines.session import RuntimeSettings, count_predictions, expected_shapes
from utils.inference.metadata import ENTRY, Metadata, from_text, to_text
from utils.inference.model import load_model
from utils.text import one_line

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


def open_in_child(path, pipe):
    """Opens a model and runs it; sends the error line, or nothing."""
    try:
        load_model(path, RuntimeSettings(threads=1)).open().run()
    except UserError as error:
        pipe.send(one_line(str(error)))
    except OSError as error:
        if error.errno is None:
            raise
        pipe.send(str(error.errno))
    else:
        pipe.send("")


@pytest.fixture(scope="module")
def children():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fuzz.test_fuzz_exported", "onnxruntime"])
    return context


def test_damaged_models_in_onnx_runtime(fuzz, children, tmp_path, capfd):
    """A crash of the runtime is not ours, see SECURITY.md; a traceback would be."""
    path = make_onnx(tmp_path / "a.onnx")
    files = [path.read_bytes()]

    def check(data):
        path.write_bytes(data)
        if judge(load_model, path, RuntimeSettings()) is None:
            return
        receiver, sender = children.Pipe(duplex=False)
        child = children.Process(target=open_in_child, args=(path, sender))
        child.start()
        sender.close()
        child.join(6 * SECONDS)
        assert child.exitcode is not None, "hangs"
        if child.exitcode >= 0:
            assert child.exitcode == 0, capfd.readouterr().err
            if line := receiver.recv():
                check_line(line)

    # The metadata stay valid, so that the runtime gets to see the rest.
    end = files[0].index(b"r", re.search(rb"detector", files[0]).end())
    fuzz(check, data=damaged([files[0][:end]]).map(lambda data: data + files[0][end:]))
