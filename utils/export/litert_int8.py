"""Quantizes a network for LiteRT: integer convolutions, but float inputs and outputs."""

import re
import sys
import warnings
from collections.abc import Collection
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from utils.cores import physical_cores
from utils.export import litert_file
from utils.export.formats import ACTIVATION_BITS
from utils.export.litert import convert
from utils.export.litert_file import Model
from utils.export.litert_kernels import (
    between_convolutions,
    check_kernels,
    disguise_leaky_relu,
    restore_leaky_relu,
)
from utils.export.quantizer import CalibrationSet
from utils.inference.metadata import Metadata
from utils.packages import missing_package
from utils.streams import silent_stderr

try:
    with silent_stderr():
        from ai_edge_litert.interpreter import Interpreter
        from litert_quantizer import quantizer as litert_quantizer
        from litert_quantizer.qtyping import TFLOperationName as Kind
except ModuleNotFoundError as error:
    raise missing_package("quantization for --format litert", error.name) from error

WEIGHT_BITS = 8
SLOW_INT16 = (
    "processors compute int16x8 in seconds per image, by LiteRT's reference kernels: it is for "
    "accelerators with 16-bit activations. Measuring its mAP takes long, --max-loss 1 skips it"
)
NO_QUANTIZE = litert_quantizer.AlgorithmName.NO_QUANTIZE

Ranges = dict[str, tuple[float, float]]


class Quantizer:
    """Quantizes one network, see `utils.export.quantizer.Quantizer`.

    Convolutions have int8 weights with a scale per channel. Activations have a scale per tensor,
    which covers their smallest and largest value on the calibration images. (The average of these
    per image loses 0.007 more mAP50 with MobileNetV2 v4 on the validation set of BCCD.)
    Operators between convolutions compute in integers if LiteRT can. What comes before the first
    convolution and after the last ones, such as decoding, computes in float.

    With int16x8, activations have 16 bits. This is more accurate, but XNNPACK has no kernels for
    it. The reference kernels, which processors use instead, are much slower than float32.

    Args:
        network: The result of `inference_network`.
        metadata: The metadata; its batch is used.
        images: The calibration images.
    """

    def __init__(self, network: keras.Model, metadata: Metadata, images: CalibrationSet):
        if metadata.precision == "int16x8":
            print(f"note: {SLOW_INT16}", file=sys.stderr)
        self._data = litert_file.pack(convert(network, metadata))
        self._ranges = _measure(self._data, images.canvases)

    def write(self, metadata: Metadata, path: Path) -> None:
        """Writes the model, see `utils.export.quantizer.Quantizer`.

        Raises:
            JobError: A convolution that should be quantized is not, or a float layer is unknown.
        """
        float_layers = metadata.quantization.float_layers
        model = self._quantize(ACTIVATION_BITS[metadata.precision], float_layers)
        check_kernels(model, metadata.precision, float_layers)
        litert_file.add_metadata(model, metadata)
        path.write_bytes(litert_file.pack(model))

    def _quantize(self, bits: int, float_layers: Collection[str]) -> Model:
        model = litert_file.read(self._data)
        disguise_leaky_relu(model)
        (graph,) = model.subgraphs
        floats = []  # litert-quantizer calls operators by their outputs
        for operator, between in zip(graph.operators, between_convolutions(model), strict=True):
            names = [graph.tensors[index].name.decode() for index in operator.outputs]
            if not between or names[0] in float_layers:
                floats.append("".join(f"{name};" for name in names))
        quantizer = litert_quantizer.Quantizer(litert_file.pack(model))
        quantizer.add_static_config(".*", Kind.ALL_SUPPORTED, bits, WEIGHT_BITS)
        for pattern, kind in (
            (f"^(?:{'|'.join(map(re.escape, floats))})$", Kind.ALL_SUPPORTED),
            (".*", Kind.INPUT),
            (".*", Kind.OUTPUT),
        ):
            quantizer.update_quantization_recipe(pattern, kind, algorithm_key=NO_QUANTIZE)
        ranges = {
            name: {"min": np.array([low]), "max": np.array([high])}
            for name, (low, high) in self._ranges.items()
        }
        with silent_stderr(), warnings.catch_warnings(action="ignore"):
            result = quantizer.quantize(ranges, enable_progress_report=False)
        model = litert_file.read(result.quantized_model)
        restore_leaky_relu(model)
        return model


def _measure(data: bytes, canvases: np.ndarray) -> Ranges:
    """Measures the smallest and the largest value of all activations.

    Args:
        data: A float model.
        canvases: (N, H, W, 3) uint8.

    Returns:
        Both, by name of the tensor.
    """
    # It warns that keeping all tensors takes memory.
    with silent_stderr(), warnings.catch_warnings(action="ignore"):
        interpreter = Interpreter(
            model_content=data,
            num_threads=physical_cores(),
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    (graph,) = litert_file.read(data).subgraphs
    (images,) = graph.inputs
    batch = graph.tensors[images].shape[0]
    indices = [images, *(index for operator in graph.operators for index in operator.outputs)]
    low, high = np.full(len(indices), np.inf), np.full(len(indices), -np.inf)
    for start in tqdm(range(0, len(canvases), batch), "calibrate", disable=None):
        chosen = np.arange(start, start + batch).clip(max=len(canvases) - 1)
        interpreter.set_tensor(images, canvases[chosen].astype(np.float32))
        interpreter.invoke()
        values = [interpreter.tensor(index) for index in indices]
        low = np.minimum(low, [value().min() for value in values])
        high = np.maximum(high, [value().max() for value in values])
    names = (graph.tensors[index].name.decode() for index in indices)
    return dict(zip(names, zip(low, high, strict=True), strict=True))
