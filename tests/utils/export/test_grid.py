"""Every backbone computes in every format, with every YOLO version, what it computes in Keras."""

import functools
import itertools
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import keras
import pytest

from nets.backbones import list_backbones
from nets.inference_network import inference_network
from nets.versions import VERSIONS
from tests.exported import (
    assert_close,
    keras_outputs,
    make_detector,
    metadata_of,
    random_canvases,
)
from utils.export.formats import FORMATS, ExportSettings
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model

RUNTIMES = {
    "saved_model": "tensorflow",
    "onnx": "onnxruntime",
    "litert": "ai_edge_litert",
    "openvino": "openvino",
}
SIZE, BATCH = (32, 64), 2
# What runs by default: each family and version once, in the format that is fastest to write, and
# the shuffle of channels in two more. MobileNetV1 is in the tests of each format, with v4 in ONNX.
DEFAULT = {
    ("mobilenetv2", "v3", "onnx"),
    ("mobilenetv3_small", "v4-tiny", "onnx"),
    ("ghostnet", "v3-tiny", "onnx"),
    ("shufflenetv2", "v3-spp", "onnx"),
    ("shufflenetv2", "v3-spp", "litert"),
    ("shufflenetv2", "v3-spp", "openvino"),
    ("efficientnetb0", "v4-tiny", "onnx"),
    ("mobilenetv2", "v4-lite", "onnx"),
    ("cspdarknet_tiny", "v3-tiny", "onnx"),
}
# The formats of one network follow each other.
GRID = [
    pytest.param(*case, marks=[] if case in DEFAULT else [pytest.mark.slow])
    for case in itertools.product(list_backbones(), VERSIONS, RUNTIMES)
]


@functools.lru_cache(maxsize=1)
def build(backbone, version):
    """The network of a detector, its metadata, images, and what Keras computes for them."""
    keras.backend.clear_session(free_memory=True)  # hundreds of networks would fill the memory
    detector = make_detector(backbone, version, SIZE)
    canvases = random_canvases(detector, BATCH)
    outputs = keras_outputs(detector, canvases)
    return inference_network(detector), metadata_of(detector), canvases, outputs


@pytest.mark.parametrize(("backbone", "version", "kind"), GRID)
def test_outputs_equal_keras(backbone, version, kind, tmp_path):
    if not find_spec(RUNTIMES[kind]):
        pytest.skip(f"{RUNTIMES[kind]} is not installed")
    network, metadata, canvases, expected = build(backbone, version)
    settings = ExportSettings(kind, batch=None if FORMATS[kind].free_batch else BATCH)
    path = tmp_path / settings.file_name
    import_module(f"utils.export.{kind}").write(
        network, replace(metadata, batch=settings.batch), path
    )
    session = load_model(path, RuntimeSettings(BATCH, precision="float32")).open()
    session.images[:] = canvases
    assert_close(session.run(), expected, SIZE)
