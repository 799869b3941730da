"""Exports to ONNX, in float32 or float16."""

from pathlib import Path

import keras
import numpy as np

from utils.inference.metadata import Metadata
from utils.packages import missing_package

try:
    import onnx

    from utils.export.onnx_graph import Graph, Value
    from utils.export.onnx_layers import translate
    from utils.export.onnx_nms import suppress
except ModuleNotFoundError as error:
    raise missing_package("--format onnx", error.name) from error


def write(network: keras.Model, metadata: Metadata, path: Path) -> None:
    """Writes a network without quantization.

    Args:
        network: An `inference_network`.
        metadata: The metadata to write, which also states precision, batch and thresholds.
        path: File to write.
    """
    save(build(network, metadata), path)


def build(network: keras.Model, metadata: Metadata) -> onnx.ModelProto:
    """Builds the model of a network; see `write`."""
    graph = Graph(np.dtype("float16" if metadata.precision == "float16" else "float32"))
    outputs = translate(network, graph, Value("images", (None, *metadata.input_size, 3)))
    if metadata.nms:
        outputs = suppress(graph, outputs["boxes"], outputs["scores"], metadata.thresholds)
    for name, value in outputs.items():
        graph.rename(value.name, name)
    return graph.to_model(metadata)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Checks a model and writes it."""
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
