"""Writes models of OpenVINO with integer convolutions, by nncf."""

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nets.inference_network import PARTS
from utils.errors import JobError
from utils.export.openvino import CONVOLUTIONS, convert, convolutions_in, save
from utils.export.quantizer import CalibrationSet
from utils.inference.engines.openvino import DEVICE, MODEL, import_openvino
from utils.inference.metadata import Metadata
from utils.packages import missing_package
from utils.text import counted

INTEGERS = ("i8", "u8")
INT8_MAX = 127
ROUNDING = "FakeQuantize"  # rounds a tensor to the levels of an integer


class Quantizer:
    """Quantizes a network, see `utils.export.quantizer.Quantizer`.

    Kernels have a scale per channel, activations one per tensor. Everything after the last
    convolutions stays in float, so that scores and boxes are not rounded. nncf also leaves the
    convolutions of squeeze-and-excite blocks in float, which compute one pixel per image. Their
    kernels are stored in 8-bit integers: with kernels in float32, a file of MobileNetV3-large has
    0.37 times the size of float32 instead of 0.26.

    Args:
        network: The result of `inference_network`.
        metadata: The metadata of the model.
        images: Images to measure the ranges of the activations on.

    Raises:
        UserError: OpenVINO or nncf is not installed.
    """

    def __init__(self, network: keras.Model, metadata: Metadata, images: CalibrationSet):
        self._float = convert(network, metadata)
        self._quantized = _quantize(self._float, images.canvases)
        left = [node for node in convolutions_in(self._quantized) if not _has_rounded_kernel(node)]
        for node in left:
            _round_kernel(node)
        self._left = [node.get_friendly_name() for node in left]
        if left:
            count = counted(len(left), "convolution")
            print(
                f"note: {count} of squeeze-and-excite blocks compute in float with 8-bit kernels, "
                "since nncf does not quantize them",
                file=sys.stderr,
            )

    def write(self, metadata: Metadata, path: Path) -> None:
        """Writes the model, see `utils.export.quantizer.Quantizer`.

        The rest, such as offsets and scales, is written in float32: in float16 it would be smaller
        by 1% of the file.

        Raises:
            JobError: A convolution that should be quantized does not run in integers, or a float
                layer is unknown.
        """
        model = self._quantized.clone()
        names = [node.get_friendly_name() for node in convolutions_in(model)]
        float_layers = set(metadata.quantization.float_layers)
        if unknown := sorted(float_layers.difference(names)):
            raise JobError(f"no convolution is named {', '.join(unknown)}")
        _restore(model, self._float, float_layers)
        float_layers.update(self._left)
        in_float = tuple(name for name in names if name in float_layers)
        quantization = replace(metadata.quantization, float_layers=in_float)
        save(model, replace(metadata, quantization=quantization), path)
        check_kernels(path / MODEL, [name for name in names if name not in float_layers])


def _quantize(model: Any, canvases: np.ndarray) -> Any:
    """Returns a model in which all convolutions are quantized."""
    import_openvino()
    try:
        import nncf
    except ModuleNotFoundError as error:
        raise missing_package("quantization for --format openvino", error.name) from error
    nncf.set_log_level(logging.ERROR)

    def prepare(canvas: np.ndarray) -> dict[str, np.ndarray]:
        return {"images": np.float32(canvas[None])}

    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(canvases, prepare),
            # On BCCD with MobileNetV2 it loses 0.000 mAP50, symmetric activations lose 0.009.
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(canvases),
            ignored_scope=nncf.IgnoredScope(names=_names_of_decoding(model)),
        )


def _names_of_decoding(model: Any) -> list[str]:
    """Returns the names of all operations after the last convolutions and their offsets."""
    heads = [node for node in convolutions_in(model) if _is_head(node.get_friendly_name())]
    offsets = [offset for head in heads for offset in _users(head)]
    found = _reachable(offsets, _users)
    return [name for name, node in found.items() if node.get_type_name() != "Result"]


def _is_head(name: str) -> bool:
    return name.startswith("head_p") and name.endswith(PARTS)


def _is_convolution(node: Any) -> bool:
    return node.get_type_name() in CONVOLUTIONS


def _has_rounded_kernel(convolution: Any) -> bool:
    """Whether the kernel is stored in integers, or as a constant that is rounded to them."""
    node = convolution.input_value(1).get_node()
    while node.get_type_name() != "Constant":
        if node.get_type_name() == ROUNDING:
            return True
        node = node.input_value(0).get_node()
    return node.get_element_type().get_type_name() in INTEGERS


def _round_kernel(convolution: Any) -> None:
    """Stores the kernel of a convolution in integers, with a scale per output channel."""
    from openvino import opset15 as ops

    kernel = convolution.input_value(1).get_node().get_data()
    largest = np.abs(kernel).max(axis=tuple(range(1, kernel.ndim)), keepdims=True)
    scale = np.where(largest > 0, largest, 1) / INT8_MAX
    rounded = ops.constant(np.int8(np.rint(kernel / scale)))
    restored = ops.multiply(ops.convert(rounded, "f32"), ops.constant(scale))
    convolution.input(1).replace_source_output(restored.output(0))


def _users(node: Any) -> list[Any]:
    targets = [target for output in node.outputs() for target in output.get_target_inputs()]
    return [target.get_node() for target in targets]


def _sources(node: Any) -> list[Any]:
    return [value.get_node() for value in node.input_values()]


def _restore(model: Any, original: Any, names: Iterable[str]) -> None:
    """Gives convolutions of a quantized model their original input, kernel and offset.

    So the ranges are measured only once, whatever stays in float.
    """
    quantized, floats = (
        {node.get_friendly_name(): node for node in convolutions_in(each)}
        for each in (model, original)
    )
    restored = [quantized[name] for name in names]
    for node in restored:
        before = floats[node.get_friendly_name()]
        node.input(1).replace_source_output(before.input_value(1))
        # Quantization corrects offsets. The conversion has removed those that are zero.
        if offset := _offset_of(before):
            _offset_of(node).replace_source_output(offset.get_source_output())
    integer = quantized.keys() - set(names)
    # Others may round the input before a pooling, an addition or a concatenation.
    for fake in [each for node in restored for each in _roundings_before(node)]:
        if integer.isdisjoint(_convolutions_after(fake)):
            for target in fake.output(0).get_target_inputs():
                target.replace_source_output(fake.input_value(0))
    for node in restored:
        source = node.input_value(0).get_node()
        if source.get_type_name() == ROUNDING:  # only for other convolutions
            node.input(0).replace_source_output(source.input_value(0))
    model.validate_nodes_and_infer_types()


def _offset_of(convolution: Any) -> Any | None:
    """Returns the input of an addition that is the offset of a convolution; None if it has none."""
    (user, *others) = _users(convolution)
    if others or user.get_type_name() != "Add":
        return None
    constant = user.input_value(1).get_node().get_type_name() == "Constant"
    return user.input(1) if constant else None


def _roundings_before(convolution: Any) -> list[Any]:
    """Returns the roundings of the input of a convolution since the convolutions before it."""
    found = _reachable([convolution], _sources)
    return [node for node in found.values() if node.get_type_name() == ROUNDING]


def _convolutions_after(node: Any) -> list[str]:
    """Returns the names of the next convolutions after a node."""
    found = _reachable([node], _users)
    return [name for name, each in found.items() if _is_convolution(each)]


def _reachable(starts: Iterable[Any], step: Callable[[Any], Iterable[Any]]) -> dict[str, Any]:
    """Returns the nodes after some nodes by name, as far as the next convolutions."""
    found, pending = {}, list(starts)
    while pending:
        for node in step(pending.pop()):
            if node.get_friendly_name() not in found:
                found[node.get_friendly_name()] = node
                if not _is_convolution(node):
                    pending.append(node)
    return found


def check_kernels(xml: Path, names: Sequence[str]) -> None:
    """Checks that convolutions run in integers.

    Raises:
        JobError: One of them does not.
    """
    compiled = import_openvino().Core().compile_model(xml, DEVICE)
    integer = set()
    for node in compiled.get_runtime_model().get_ops():
        info = {key: value.astype(str) for key, value in node.get_rt_info().items()}
        if info["layerType"] == "Convolution" and info["runtimePrecision"] in INTEGERS:
            integer.update(info["originalLayersNames"].split(","))
    if missing := [name for name in names if name not in integer]:
        raise JobError(
            f"{len(missing)} of {len(names)} convolutions would not run in integers on this "
            f"processor, the first is {missing[0]}"
        )
