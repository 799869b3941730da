"""Translates the layers of an `inference_network` into the operators of ONNX."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers

from nets.layers import leaky_relu
from utils.errors import JobError
from utils.export.onnx_graph import FLOAT32, INT64, Graph, Value

Translation = Callable[[Graph, keras.Operation, list[Value]], Value | list[Value]]

TO_GRAPH = (0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W)
TO_KERAS = (0, 2, 3, 1)


def translate(network: keras.Function, graph: Graph, images: Value) -> dict[str, Value] | Value:
    """Adds the nodes of a network to a graph. Nodes have the names of their layers.

    Args:
        network: An `inference_network`.
        graph: The graph.
        images: The input of the network.

    Returns:
        The outputs by name, or the output if the network has one without a name.

    Raises:
        JobError: A layer has no translation.
    """

    def call(operation: keras.Operation, *args: object, **_: object) -> object:
        inputs = keras.tree.flatten(args)
        if isinstance(operation, keras.Model):
            return _run(operation, call, inputs)
        # By name, since Keras' operations are private, and named like the layers that do the same.
        translation = TRANSLATIONS.get(type(operation).__name__)
        if translation is None:
            raise JobError(
                f"layer {operation.name} is a {type(operation).__name__}, which cannot be exported "
                "to ONNX yet: use another --format, or add it to utils/export/onnx_layers.py"
            )
        return translation(graph, operation, [_tensor(graph, each) for each in inputs])

    return _run(network, call, [images])


def _run(model: keras.Model, call: Callable, inputs: Sequence[Value]) -> object:
    return model._run_through_graph(
        list(inputs), operation_fn=lambda operation: operation, call_fn=call
    )


def _tensor(graph: Graph, value: object) -> Value:
    """Turns the constants among the arguments of an operation into tensors."""
    if isinstance(value, Value):
        return value
    array = keras.ops.convert_to_numpy(value)
    return Value(graph.constant(array, FLOAT32), array.shape)


def _same_type(graph: Graph, inputs: list[Value]) -> list[Value]:
    """Converts all to float32 if one is: only features are stored in another type."""
    exact = any(value.dtype == FLOAT32 for value in inputs)
    return [graph.cast(value, FLOAT32) if exact else value for value in inputs]


def _axis(operation: keras.Operation, value: Value) -> int:
    """Axis of the graph for an axis of Keras."""
    rank = len(value.shape)
    axis = operation.axis % rank
    return TO_GRAPH.index(axis) if rank == 4 else axis


def _output(operation: keras.Operation, name: str, dtype: np.dtype) -> Value:
    return Value(name, operation.output.shape, dtype)


def _simple(kind: str) -> Translation:
    """Translates an operation to an operator of the same inputs, without attributes."""

    def translation(graph: Graph, operation: keras.Operation, inputs: list[Value]) -> Value:
        inputs = _same_type(graph, inputs)
        (name,) = graph.add(kind, [value.name for value in inputs], operation.name)
        return _output(operation, name, inputs[0].dtype)

    return translation


def _unchanged(graph: Graph, operation: keras.Operation, inputs: list[Value]) -> Value:
    return inputs[0]


def _scale(graph: Graph, layer: layers.Rescaling, inputs: list[Value]) -> Value:
    """Scales the input, which is still (B, H, W, C), in float32."""
    (name,) = graph.add("Transpose", [inputs[0].name], f"{layer.name}/transpose", perm=TO_GRAPH)
    for kind, numbers in (("Mul", layer.scale), ("Add", layer.offset)):
        constant = graph.constant(np.reshape(numbers, (-1, 1, 1)), FLOAT32, f"{layer.name}/{kind}")
        (name,) = graph.add(kind, [name, constant], f"{layer.name}/{kind.lower()}")
    return graph.cast(_output(layer, name, FLOAT32), graph.dtype)


def _pad(graph: Graph, layer: layers.ZeroPadding2D, inputs: list[Value]) -> Value:
    (top, bottom), (left, right) = layer.padding
    value = inputs[0]
    return Value(value.name, layer.output.shape, value.dtype, (top, left, bottom, right))


def _window(value: Value, size: Sequence[int], strides: Sequence[int], padding: str) -> dict:
    """Attributes of a window that moves over features, with what TensorFlow pads for "same"."""
    pads = value.pads
    if padding == "same":
        rest = [
            max((-(-side // step) - 1) * step + width - side, 0)
            for side, width, step in zip(value.shape[1:3], size, strides, strict=True)
        ]
        pads = (*(each // 2 for each in rest), *(each - each // 2 for each in rest))
    return {"kernel_shape": list(size), "strides": list(strides), "pads": list(pads)}


def _convolve(graph: Graph, layer: layers.Conv2D, inputs: list[Value]) -> Value:
    (value,) = inputs
    kernel, bias = layer.get_weights()
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)  # (filters, channels, h, w)
    names = [
        graph.constant(kernel.transpose(order), value.dtype, f"{layer.name}/kernel"),
        graph.constant(bias, value.dtype, f"{layer.name}/bias"),
    ]
    window = _window(value, layer.kernel_size, layer.strides, layer.padding)
    group = value.shape[-1] if depthwise else 1
    (name,) = graph.add("Conv", [value.name, *names], layer.name, group=group, **window)
    return _activate(graph, layer, _output(layer, name, value.dtype), f"{layer.name}/act")


def _pool(graph: Graph, layer: layers.MaxPooling2D, inputs: list[Value]) -> Value:
    # ONNX pads with nothing and `Layers.max_pool` with zeros, which makes no difference to its
    # features, since they are nowhere negative.
    (value,) = inputs
    window = _window(value, layer.pool_size, layer.strides, layer.padding)
    (name,) = graph.add("MaxPool", [value.name], layer.name, **window)
    return _output(layer, name, value.dtype)


def _concatenate(graph: Graph, operation: keras.Operation, inputs: list[Value]) -> Value:
    axis = _axis(operation, inputs[0])
    (name,) = graph.add("Concat", [each.name for each in inputs], operation.name, axis=axis)
    joined = _output(operation, name, inputs[0].dtype)
    # Features end here. Boxes to 1/100 pixel need more than the 11 bits of float16.
    return joined if len(joined.shape) == 4 else graph.cast(joined, FLOAT32)


def _split(graph: Graph, operation: keras.Operation, inputs: list[Value]) -> list[Value]:
    (value,) = inputs
    shapes = [part.shape for part in operation.output]
    sizes = graph.constant([shape[-1] for shape in shapes], INT64)
    axis = _axis(operation, value)
    names = graph.add("Split", [value.name, sizes], operation.name, len(shapes), axis=axis)
    return [Value(name, shape, value.dtype) for name, shape in zip(names, shapes, strict=True)]


def _upsample(graph: Graph, layer: layers.Layer, inputs: list[Value]) -> Value:
    scales = graph.constant([1, 1, 2, 2], FLOAT32, "double")
    (name,) = graph.add(
        "Resize",
        [inputs[0].name, "", scales],
        layer.name,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return _output(layer, name, inputs[0].dtype)


def _shuffle(graph: Graph, layer: layers.Layer, inputs: list[Value]) -> Value:
    _, height, width, channels = inputs[0].shape
    name = layer.name
    (joined,) = graph.add("Concat", [each.name for each in inputs], f"{name}/concat", axis=1)
    (rows,) = _reshape_to(graph, joined, (-1, 2, channels, height * width), f"{name}/rows")
    (mixed,) = graph.add("Transpose", [rows], f"{name}/transpose", perm=(0, 2, 1, 3))
    (name,) = _reshape_to(graph, mixed, (-1, 2 * channels, height, width), name)
    return _output(layer, name, inputs[0].dtype)


def _flatten(graph: Graph, layer: layers.Reshape, inputs: list[Value]) -> Value:
    """Turns features into rows in the order of Keras, one per prediction."""
    (value,) = inputs
    (rows,) = graph.add("Transpose", [value.name], f"{value.name}/transpose", perm=TO_KERAS)
    (name,) = _reshape_to(graph, rows, (-1, *layer.target_shape), f"{value.name}/reshape")
    return _output(layer, name, value.dtype)


def _reshape_to(graph: Graph, value: str, shape: tuple[int, ...], name: str) -> list[str]:
    return graph.add("Reshape", [value, graph.constant(shape, INT64, f"{name}/shape")], name)


def _clip(graph: Graph, operation: keras.Operation, inputs: list[Value]) -> Value:
    return _bounded(graph, inputs[0], (operation.x_min, operation.x_max), operation.name)


def _bounded(graph: Graph, value: Value, bounds: tuple[float, float], name: str) -> Value:
    limits = [graph.constant(each, value.dtype, f"bound_{each:g}") for each in bounds]
    (name,) = graph.add("Clip", [value.name, *limits], name)
    return Value(name, value.shape, value.dtype)


def _operator(kind: str, **attributes: float) -> Callable:
    """An activation that is one operator."""

    def activation(graph: Graph, value: Value, name: str) -> Value:
        (name,) = graph.add(kind, [value.name], name, **attributes)
        return Value(name, value.shape, value.dtype)

    return activation


def _relu6(graph: Graph, value: Value, name: str) -> Value:
    return _bounded(graph, value, (0.0, 6.0), name)


def _gated(*kinds: str) -> Callable:
    """An activation that multiplies its input by a chain of functions of it."""

    def activation(graph: Graph, value: Value, name: str) -> Value:
        gate = value.name
        for kind in kinds:
            (gate,) = graph.add(kind, [gate], f"{name}/{kind.lower()}")
        (name,) = graph.add("Mul", [value.name, gate], name)
        return Value(name, value.shape, value.dtype)

    return activation


def _activate(graph: Graph, layer: layers.Layer, value: Value, name: str) -> Value:
    activation = ACTIVATIONS.get(layer.activation)
    if activation:
        return activation(graph, value, name)
    # Any other function consists of Keras' operations. Its constants are float32.
    x = keras.KerasTensor(value.shape)
    function = keras.Function(x, layer.activation(x))
    return graph.cast(translate(function, graph, value), value.dtype)


def _activation(graph: Graph, layer: layers.Activation, inputs: list[Value]) -> Value:
    return _activate(graph, layer, inputs[0], layer.name)


def _linear(graph: Graph, value: Value, name: str) -> Value:
    return value


ACTIVATIONS = {
    keras.activations.linear: _linear,
    keras.activations.relu: _operator("Relu"),
    keras.activations.relu6: _relu6,
    leaky_relu: _operator("LeakyRelu", alpha=0.1),
    keras.activations.sigmoid: _operator("Sigmoid"),
    keras.activations.hard_sigmoid: _operator("HardSigmoid", alpha=1 / 6, beta=0.5),
    keras.activations.silu: _gated("Sigmoid"),
    keras.activations.hard_silu: _operator("HardSwish"),
    # The operator Mish exists only in later operator sets.
    keras.activations.mish: _gated("Softplus", "Tanh"),
}

TRANSLATIONS: dict[str, Translation] = {
    "Activation": _activation,
    "Add": _simple("Add"),
    "Clip": _clip,
    "Concatenate": _concatenate,
    "Conv2D": _convolve,
    "DepthwiseConv2D": _convolve,
    "Exp": _simple("Exp"),
    "FlatShuffle": _shuffle,
    "GlobalAveragePooling2D": _simple("GlobalAveragePool"),
    "Identity": _unchanged,
    "MaxPooling2D": _pool,
    "Minimum": _simple("Min"),
    "Multiply": _simple("Mul"),
    "Rescaling": _scale,
    "Reshape": _flatten,
    "Sigmoid": _simple("Sigmoid"),
    "Split": _split,
    "Subtract": _simple("Sub"),
    "Upsample": _upsample,
    "ZeroPadding2D": _pad,
}
