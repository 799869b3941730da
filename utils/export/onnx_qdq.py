"""Inserts quantization into an ONNX graph, as pairs of QuantizeLinear and DequantizeLinear.

A runtime replaces an operator between such pairs by its integer kernel. A convolution therefore
gets a pair at its input and at its output; what lies between convolutions is computed in integers
where all its inputs are, so that values are not converted back and forth.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

Range = tuple[float, float]

# ONNX Runtime has integer kernels for all operators of the detectors with this type of activations.
# With int8, it computes depthwise convolutions in float.
ACTIVATION_TYPE = np.uint8
LEVELS = 255  # steps between the smallest and the largest activation
WEIGHT_LEVELS = 127  # steps from 0 to the largest weight
LARGEST_BIAS = 2**30  # in steps: half of int32, to leave room for the sum of the products

# ONNX Runtime drops these after a convolution if they limit values to the range of its output.
LIMITS = ("Clip", "Relu")
# Operators that choose or move values: their output has the scale of their input.
MOVES = ("MaxPool", "Reshape", "Resize", "Split", "Transpose")
# Operators with an integer kernel, or that only compute the gates of squeeze-and-excite, which are
# small.
INTEGER = (
    *MOVES,
    "Add",
    "Concat",
    "GlobalAveragePool",
    "HardSigmoid",
    "LeakyRelu",
    "Mul",
    "Sigmoid",
)


class Wiring:
    """Which nodes use each tensor of a graph, and where its features end.

    Args:
        graph: The graph.

    Attributes:
        nodes: The nodes in order, by name.
        constants: The constants by name.
    """

    def __init__(self, graph: onnx.GraphProto):
        self.nodes = {node.name: node for node in graph.node}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self._users = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._users[name].append(node)
        self._before_convolution = set()
        for node in reversed(graph.node):
            if node.op_type == "Conv" or not self._before_convolution.isdisjoint(node.output):
                self._before_convolution.update(node.input)

    @property
    def convolutions(self) -> list[str]:
        """Names of the convolutions in order."""
        return [name for name, node in self.nodes.items() if node.op_type == "Conv"]

    def users(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that use a tensor."""
        return self._users[tensor]

    def is_feature(self, tensor: str) -> bool:
        """Whether a convolution follows later, and the tensor is no constant."""
        return tensor in self._before_convolution and tensor not in self.constants

    def inputs(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node that are no constants."""
        return [name for name in node.input if name and name not in self.constants]

    def end(self, convolution: str) -> str:
        """The output of a convolution, or that of the limit that is computed as part of it."""
        (output,) = self.nodes[convolution].output
        users = self.users(output)
        is_limited = len(users) == 1 and users[0].op_type in LIMITS
        return users[0].output[0] if is_limited else output


def quantized_tensors(wiring: Wiring, convolutions: Sequence[str]) -> dict[str, str]:
    """Finds the tensors that integers represent if some convolutions are quantized.

    Args:
        wiring: The graph.
        convolutions: Names of the convolutions to quantize.

    Returns:
        For each tensor, in the order of the graph, the tensor of which it has the scale: itself,
        unless it has only values of another one.
    """
    nodes = [wiring.nodes[name] for name in convolutions]
    needed = {node.input[0] for node in nodes} | {wiring.end(node.name) for node in nodes}
    sources: dict[str, str] = {}
    for node in wiring.nodes.values():
        inputs = wiring.inputs(node)
        of_inputs = {sources.get(name) for name in inputs}
        is_integer = node.op_type in INTEGER and None not in of_inputs
        # A concatenation of tensors of one scale is a move, too.
        moves = is_integer and len(of_inputs) == 1 and node.op_type in (*MOVES, "Concat")
        for output in node.output:
            if output in needed or (is_integer and wiring.is_feature(output)):
                sources[output] = next(iter(of_inputs)) if moves else output
    return sources


def quantize(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    convolutions: Sequence[str],
) -> onnx.ModelProto:
    """Quantizes convolutions, and what lies between them.

    Args:
        model: A float32 model; it does not change.
        ranges: Smallest and largest value of the tensors that are quantized.
        convolutions: Names of the convolutions to quantize.

    Returns:
        The quantized model.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    wiring = Wiring(graph)
    sources = quantized_tensors(wiring, convolutions)
    scales = {tensor: _scale(ranges[source]) for tensor, source in sources.items()}
    nodes = []
    for node in list(graph.node):
        if node.name in convolutions:
            step = scales[node.input[0]][0]
            nodes += _quantize_weights(node, graph, wiring.constants, step)
        elif node.op_type == "Conv" and {node.input[0], wiring.end(node.name)} <= scales.keys():
            nodes += _keep_in_float(node, graph, wiring.constants, *scales[node.input[0]])
        for index, name in enumerate(node.input):
            if name in scales:
                node.input[index] = f"{name}/dequantized"
        nodes.append(node)
        for output in node.output:
            if output in scales:
                nodes += _pair(output, graph, *scales[output])
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(constants)
    return result


def _scale(limits: Range) -> tuple[np.float32, np.ndarray]:
    """Returns step and zero point, so that 0 is exact."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    step = np.float32(max(high - low, 1e-6) / LEVELS)
    return step, np.array(np.clip(round(-low / step), 0, LEVELS), ACTIVATION_TYPE)


def _pair(
    tensor: str, graph: onnx.GraphProto, step: np.float32, zero: np.ndarray
) -> list[onnx.NodeProto]:
    """Quantizes a tensor, and dequantizes it again."""
    parameters = [f"{tensor}/step", f"{tensor}/zero"]
    for name, value in zip(parameters, (step, zero), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    integers, floats = f"{tensor}/quantized", f"{tensor}/dequantized"
    return [
        helper.make_node("QuantizeLinear", [tensor, *parameters], [integers], integers),
        helper.make_node("DequantizeLinear", [integers, *parameters], [floats], floats),
    ]


def _keep_in_float(
    node: onnx.NodeProto,
    graph: onnx.GraphProto,
    constants: Mapping,
    step: np.float32,
    zero: np.ndarray,
) -> list[onnx.NodeProto]:
    """Dequantizes the input of a convolution by other operators.

    Between a DequantizeLinear and a QuantizeLinear, ONNX Runtime would quantize the weights of a
    float convolution by itself (WeightBiasQuantization), with one step for all channels.
    """
    tensor, name = node.input[0], f"{node.name}/steps"
    kernel = numpy_helper.to_array(constants[node.input[1]])
    for each, value in ((f"{name}/zero", np.float32(zero)), (f"{name}/kernel", kernel * step)):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), each))
    node.input[0], node.input[1] = name, f"{name}/kernel"
    integers, floats = f"{tensor}/quantized", f"{name}/cast"
    return [
        helper.make_node("Cast", [integers], [floats], floats, to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", [floats, f"{name}/zero"], [name], name),
    ]


def _quantize_weights(
    node: onnx.NodeProto, graph: onnx.GraphProto, constants: Mapping, step: np.float32
) -> list[onnx.NodeProto]:
    """Quantizes kernel and bias of a convolution; each output channel has its own step.

    Args:
        node: The convolution; its inputs become the dequantized constants.
        graph: The graph, to which the constants are added.
        constants: The constants of the graph.
        step: Step of the input.
    """
    kernel, bias = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
    largest = np.abs(kernel).reshape(len(kernel), -1).max(axis=1)
    # A channel of tiny weights would otherwise have a step in which its bias exceeds int32.
    steps = np.maximum(largest / WEIGHT_LEVELS, np.abs(bias) / (step * LARGEST_BIAS))
    steps = np.float32(np.where(steps > 0, steps, 1.0))
    rounded = np.round(kernel / steps[:, None, None, None])
    nodes = []
    for index, (part, value, scale) in enumerate(
        (
            ("kernel", rounded.astype(np.int8), steps),
            ("bias", np.round(bias / (np.float64(step) * steps)).astype(np.int32), step * steps),
        ),
        start=1,
    ):
        name = f"{node.name}/{part}"
        inputs = [f"{name}/quantized", f"{name}/step", f"{name}/zero"]
        zeros = np.zeros(len(kernel), value.dtype)
        for each, array in zip(inputs, (value, np.float32(scale), zeros), strict=True):
            graph.initializer.append(numpy_helper.from_array(array, each))
        output = f"{name}/dequantized"
        nodes.append(helper.make_node("DequantizeLinear", inputs, [output], output, axis=0))
        node.input[index] = output
    return nodes
