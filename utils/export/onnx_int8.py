"""Exports to ONNX with integer convolutions (QDQ, one scale per output channel)."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import keras

from utils.errors import JobError
from utils.export.onnx import build, save
from utils.export.onnx_graph import describe
from utils.export.onnx_qdq import Wiring, quantize, quantized_tensors
from utils.export.quantizer import CalibrationSet
from utils.inference.engines.onnx import session_options
from utils.inference.metadata import Metadata
from utils.packages import missing_package

if TYPE_CHECKING:
    from onnx import NodeProto


class Quantizer:
    """Quantizes a network, see `utils.export.quantizer.Quantizer`.

    Args:
        network: An `inference_network`.
        metadata: Metadata of the model.
        images: The images on which the ranges are measured.

    Raises:
        UserError: ONNX Runtime is not installed.
    """

    def __init__(self, network: keras.Model, metadata: Metadata, images: CalibrationSet):
        if not find_spec("onnxruntime"):
            raise missing_package("--precision int8", "onnxruntime")
        from utils.export.onnx_ranges import measure_ranges

        self._network = network
        model = build(network, replace(metadata, precision="float32", batch=None, nms=False))
        wiring = Wiring(model.graph)
        tensors = quantized_tensors(wiring, wiring.convolutions)
        self._ranges = measure_ranges(model, [*tensors], images.canvases)

    def write(self, metadata: Metadata, path: Path) -> None:
        """Writes the model.

        Args:
            metadata: The metadata to write; `quantization.float_layers` names the convolutions that
                stay in float, by their names in the network.
            path: File to write.

        Raises:
            JobError: ONNX Runtime has no integer kernel for a convolution.
        """
        model = build(self._network, replace(metadata, precision="float32"))
        kept = metadata.quantization.float_layers if metadata.quantization else ()
        chosen = [name for name in Wiring(model.graph).convolutions if name not in kept]
        quantized = quantize(model, self._ranges, chosen)
        describe(quantized, metadata)
        save(quantized, path)
        check_integer_kernels(path, chosen)


def check_integer_kernels(path: Path, convolutions: list[str]) -> None:
    """Checks that ONNX Runtime computes convolutions in integers.

    Args:
        path: The model.
        convolutions: Names of the convolutions that are quantized.

    Raises:
        JobError: One of them is computed in float; the message names it.
    """
    # Fused nodes get new names, but their kernels keep theirs.
    integer = {node.input[3] for node in optimized_nodes(path) if node.op_type == "QLinearConv"}
    for name in convolutions:
        if f"{name}/kernel/quantized" not in integer:
            raise JobError(f"ONNX Runtime has no integer kernel for convolution {name}")


def optimized_nodes(path: Path) -> "list[NodeProto]":
    """Returns the nodes to which ONNX Runtime optimizes those of a model."""
    import onnx
    import onnxruntime

    options = session_options(threads=1)
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return list(onnx.load(options.optimized_model_filepath).graph.node)
