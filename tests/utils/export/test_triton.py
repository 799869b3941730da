import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from utils.export.triton import config_text
from utils.inference.metadata import Metadata
from utils.inference.thresholds import Thresholds

ANCHORS = ((((10, 10),) * 3),)
METADATA = Metadata("mobilenetv2", 1.0, "v4", ("cat", "dog"), ANCHORS, (64, 96), weights="ab")

# The parts of model_config.proto that are used: name, type and whether it is repeated.
MESSAGES = {
    "Shape": [("shape", "int64", True)],
    "Tensor": [
        ("name", "string", False),
        ("data_type", ".DataType", False),
        ("dims", "int64", True),
        ("reshape", ".Shape", False),
    ],
    "Batching": [],
    "ModelConfig": [
        ("name", "string", False),
        ("backend", "string", False),
        ("default_model_filename", "string", False),
        ("max_batch_size", "int32", False),
        ("input", ".Tensor", True),
        ("output", ".Tensor", True),
        ("dynamic_batching", ".Batching", False),
    ],
}


@pytest.fixture(scope="module")
def parse():
    """Parses the text of a configuration."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="config.proto", syntax="proto3")
    enum = file.enum_type.add(name="DataType")
    for number, name in enumerate(("TYPE_INVALID", "TYPE_INT32", "TYPE_FP32")):
        enum.value.add(name=name, number=number)
    for message, fields in MESSAGES.items():
        target = file.message_type.add(name=message)
        for number, (name, kind, repeated) in enumerate(fields, start=1):
            entry = target.field.add(name=name, number=number)
            entry.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind.startswith("."):
                entry.type_name = kind
                entry.type = kinds.TYPE_ENUM if kind == ".DataType" else kinds.TYPE_MESSAGE
            else:
                entry.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("ModelConfig"))
    return lambda text: text_format.Parse(text, config())


def tensors(entries):
    return {each.name: (each.data_type, list(each.dims)) for each in entries}


INT32, FP32 = 1, 2


def test_free_batch(parse):
    config = parse(config_text(METADATA, "a.onnx"))
    assert (config.name, config.backend) == ("detector", "onnxruntime")
    assert config.default_model_filename == "a.onnx"
    assert config.max_batch_size == 8 and config.HasField("dynamic_batching")
    assert tensors(config.input) == {"images": (FP32, [64, 96, 3])}
    # One level of stride 32 with 2 x 3 cells.
    assert tensors(config.output) == {"boxes": (FP32, [18, 4]), "scores": (FP32, [18, 2])}


def test_fixed_batch_with_suppression(parse):
    options = {"batch": 4, "nms": True, "thresholds": Thresholds(max_boxes=50)}
    config = parse(config_text(Metadata(**{**vars(METADATA), **options}), "a.onnx"))
    assert config.max_batch_size == 0 and not config.HasField("dynamic_batching")
    assert tensors(config.input) == {"images": (FP32, [4, 64, 96, 3])}
    assert tensors(config.output) == {
        "boxes": (FP32, [4, 50, 4]),
        "scores": (FP32, [4, 50]),
        "labels": (INT32, [4, 50]),
        "counts": (INT32, [4]),
    }


def test_one_value_per_image_has_no_side(parse):
    config = parse(config_text(Metadata(**{**vars(METADATA), "nms": True}), "a.onnx"))
    (counts,) = (each for each in config.output if each.name == "counts")
    assert list(counts.dims) == [1] and counts.HasField("reshape")
    assert not counts.reshape.shape


def test_name_of_the_file(parse):
    name = 'größe "8".onnx'
    assert parse(config_text(METADATA, name)).default_model_filename == name
