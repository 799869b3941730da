"""What a training step could reach: its convolutions alone, memory bandwidth, matrix products."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.profile_kinds import (
    ACTIVATION,
    BACKWARD,
    CONVOLUTIONS,
    FORWARD,
    NORMALIZATION,
    OF_INPUT,
    OF_KERNEL,
    UPDATE,
    kind_of_layer,
)

if TYPE_CHECKING:
    import tensorflow as tf
    from keras import KerasTensor, Layer

    from nets.detector import Detector

MATRIX = 2048
ADDED = 2**24  # elements of the float32 arrays whose sum measures the bandwidth, 64 MiB each
EMPTY = "empty call"
ADD = "add"
PRODUCTS = {"float32": "product float32", "bfloat16": "product bfloat16"}
# Gradient, momentum, velocity, weight and average are read, and all but the gradient written.
UPDATE_PASSES = 9


class Call(NamedTuple):
    """One pass of a convolution of some shape.

    Attributes:
        kind: One of `CONVOLUTIONS`.
        direction: Forward, or one of the gradients.
        shape: Type, kernel, strides and input of the layer.
    """

    kind: str
    direction: str
    shape: tuple


@dataclass(frozen=True)
class Limits:
    """The work of a step, and functions that measure how fast it could be done.

    Attributes:
        functions: Functions to time, by name or call.
        calls: How often a step does each call.
        flops: Floating-point operations of each call.
        moved: Bytes that each kind and direction of other work reads and writes at least.
    """

    functions: dict[object, Callable[[], object]]
    calls: Counter[Call]
    flops: dict[Call, int]
    moved: Counter[tuple[str, str]]

    def seconds(self, measured: Mapping[object, Sequence[float]]) -> Counter[tuple[str, str]]:
        """Returns the least seconds per step by kind and direction.

        Args:
            measured: Seconds of each call of each function.
        """
        empty = median(measured[EMPTY])
        found = Counter()
        for call, count in self.calls.items():
            alone = max(median(measured[call]) - empty, 0.0)
            found[call.kind, call.direction] += count * alone
        rate = bandwidth(measured)
        found.update({work: moved / rate for work, moved in self.moved.items()})
        return found

    def work_of_convolutions(self) -> Counter[tuple[str, str]]:
        """Returns the floating-point operations per step by kind and direction."""
        found = Counter()
        for call, count in self.calls.items():
            found[call.kind, call.direction] += count * self.flops[call]
        return found


def bandwidth(measured: Mapping[object, Sequence[float]]) -> float:
    """Bytes per second that an addition of large arrays reads and writes."""
    return 3 * 4 * ADDED / median(measured[ADD])


def find_limits(detector: "Detector", batch_size: int) -> Limits:
    """Prepares the measurements for a detector that is trained completely.

    The convolutions are those of the layers themselves, so they have the algorithm and precision of
    the training step. Each runs alone on arrays in memory.

    Args:
        detector: The detector.
        batch_size: Images per step.
    """
    from summary import innermost

    functions = _common_functions()
    calls, flops, moved = Counter(), {}, Counter()
    for layer in innermost(detector.layers):
        kind = kind_of_layer(layer)
        if kind in CONVOLUTIONS:
            shape = _shape_of(layer)
            # The gradient of the images is not needed.
            directions = [FORWARD, OF_KERNEL, OF_INPUT][: 2 if layer.input.shape[-1] == 3 else 3]
            passes = None
            for direction in directions:
                call = Call(kind, direction, shape)
                if call not in calls:
                    passes = passes or _passes(layer, batch_size)
                    functions[call] = passes[direction]
                    flops[call] = batch_size * _flops(layer)
                calls[call] += 1
        else:
            forward, backward = (batch_size * size for size in _moved(layer, kind))
            moved[kind, FORWARD] += forward
            moved[kind, BACKWARD] += backward
    trained = sum(math.prod(weight.shape) for weight in detector.trainable_weights)
    moved[UPDATE, ""] = UPDATE_PASSES * 4 * trained
    return Limits(functions, calls, flops, moved)


def _common_functions() -> dict[object, Callable[[], object]]:
    import tensorflow as tf

    large = [tf.random.normal((ADDED,)) for _ in range(2)]
    functions = {EMPTY: _called(lambda x, y: tf.zeros(()), *large), ADD: _called(tf.add, *large)}
    for dtype, name in PRODUCTS.items():
        factors = [tf.cast(tf.random.normal((MATRIX, MATRIX)), dtype) for _ in range(2)]
        functions[name] = _called(tf.matmul, *factors)
    return functions


def _passes(layer: "Layer", batch_size: int) -> dict[str, Callable[[], object]]:
    """Returns functions that run the passes of a convolution, by direction."""
    import tensorflow as tf

    def arrays(tensor: "KerasTensor") -> "tf.Tensor":
        shape = (batch_size, *tensor.shape[1:])
        return tf.cast(tf.random.normal(shape), layer.compute_dtype)

    def forward(x: "tf.Tensor") -> "tf.Tensor":
        return layer(x, training=True)

    # A convolution is linear, so TensorFlow removes the forward pass from its gradients.
    def of_input(x: "tf.Tensor", upstream: "tf.Tensor") -> "tf.Tensor":
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, x, upstream)

    def of_kernel(x: "tf.Tensor", upstream: "tf.Tensor") -> "tf.Tensor":
        with tf.GradientTape() as tape:
            y = layer(x, training=True)
        return tape.gradient(y, layer.kernel.value, upstream)

    x, upstream = arrays(layer.input), arrays(layer.output)
    return {
        FORWARD: _called(forward, x),
        OF_INPUT: _called(of_input, x, upstream),
        OF_KERNEL: _called(of_kernel, x, upstream),
    }


def _called(function: Callable, *arrays: "tf.Tensor") -> Callable[[], object]:
    """Returns a function without arguments that runs a compiled function on arrays in memory."""
    import tensorflow as tf

    compiled = tf.function(function, autograph=False).get_concrete_function(*arrays)
    return lambda: compiled(*arrays)


def _shape_of(layer: "Layer") -> tuple:
    names = ("strides", "padding", "use_bias", "margin", "compute_dtype")
    options = (getattr(layer, name, None) for name in names)
    return (type(layer), tuple(layer.kernel.shape), layer.input.shape, *options)


def _flops(layer: "Layer") -> int:
    from summary import count_flops

    return count_flops([layer])


def _moved(layer: "Layer", kind: str) -> tuple[int, int]:
    """Bytes that a layer without a product reads and writes per image, forward and backward."""
    import keras
    import tensorflow as tf

    if isinstance(layer, keras.layers.InputLayer | keras.layers.Reshape | keras.layers.Rescaling):
        return 0, 0  # a view, or without a gradient and small
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    read, written = (
        sum(math.prod(tensor.shape[1:]) for tensor in tensors)
        for tensors in (inputs[:1] if kind == NORMALIZATION else inputs, [layer.output])
    )
    # These also read what they normalized or activated.
    again = read if kind in (NORMALIZATION, ACTIVATION) else 0
    size = tf.as_dtype(layer.compute_dtype).size
    return size * (read + written), size * (read + written + again)
