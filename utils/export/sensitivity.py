"""Ranks convolutions by how much the detections change if only one of them is quantized."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tqdm import tqdm

from nets.inference_network import CONVOLUTIONS

# The error of a convolution hardly depends on the image; the ranges do, but not on more images than
# these, since they only serve to compare convolutions.
ERROR_IMAGES = 8
RANGE_IMAGES = 64
BATCH_SIZE = 8

NONE = -1  # no convolution is quantized
OBSERVE = -2  # the ranges are measured


@dataclass(frozen=True)
class Sensitivity:
    """How much the detections change if one convolution is quantized.

    Attributes:
        name: Name of the convolution in the network.
        error: Relative error of the outputs, see `detection_error`; 0 for none.
    """

    name: str
    error: float


def rank_convolutions(
    network: keras.Model, canvases: np.ndarray, activation_bits: int = 8
) -> list[Sensitivity]:
    """Measures the error of each convolution, with a progress bar on standard error.

    Weights are quantized as symmetric int8 per output channel, inputs of the convolution as
    asymmetric integers per tensor over the range that they have on the images, which is extended to
    contain 0 (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", equations 1 and 13). Integers are simulated in float32, so
    the ranking is the same for all formats.

    Args:
        network: A network of `nets.inference_network`.
        canvases: (N, H, W, 3) uint8 calibration images.
        activation_bits: Bits of an activation, 8 or 16.

    Returns:
        One entry per convolution, largest error first.
    """
    simulation = _Simulation(network, activation_bits)
    for batch in _batches(_spread(canvases, RANGE_IMAGES)):
        simulation.observe(batch)
    sample = [
        (batch, simulation.outputs(batch)) for batch in _batches(_spread(canvases, ERROR_IMAGES))
    ]
    ranked = []
    names = tqdm(simulation.names, "ranking convolutions", delay=2, leave=False, disable=None)
    for index, name in enumerate(names):
        errors = [simulation.error(batch, index, *expected) for batch, expected in sample]
        ranked.append(Sensitivity(name, float(np.mean(errors))))
    return sorted(ranked, key=lambda each: -each.error)


def detection_error(
    boxes: tf.Tensor, scores: tf.Tensor, true_boxes: tf.Tensor, true_scores: tf.Tensor
) -> tf.Tensor:
    """Compares the outputs of a network with those before it was quantized.

    Average precision depends on the order of the scores and on the overlap of boxes, both mostly of
    predictions with high scores. The error is the sum of the change of the scores, relative to the
    scores, and of 1 - IoU of the boxes before and after, weighted by the scores:

        sum |s' - s| / sum s  +  sum m (1 - IoU(b', b)) / sum m,   m = the highest s of a prediction

    Args:
        boxes: (B, P, 4) xyxy.
        scores: (B, P, C) in 0..1.
        true_boxes: (B, P, 4) before.
        true_scores: (B, P, C) before.
    """
    changed = tf.reduce_sum(tf.abs(scores - true_scores)) / tf.reduce_sum(true_scores)
    weights = tf.reduce_max(true_scores, axis=-1)
    moved = tf.reduce_sum(weights * (1 - _iou(boxes, true_boxes))) / tf.reduce_sum(weights)
    return changed + moved


def convolution_names(network: keras.Model) -> list[str]:
    """Returns the names of the convolutions of a network, in its order."""
    return [layer.name for layer in _flat(network) if isinstance(layer, CONVOLUTIONS)]


def quantized_kernel(layer: layers.Layer) -> np.ndarray:
    """Returns the kernel of a convolution, rounded to symmetric int8 per output channel."""
    kernel = layer.get_weights()[0]
    # (h, w, channels, filters), but (h, w, channels, 1) if depthwise.
    axes = (0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (0, 1, 2)
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / np.float32(127)
    scale = np.where(scale > 0, scale, np.float32(1))
    return np.round(kernel / scale) * scale


class _Simulation:
    """A copy of a network in which one convolution at a time can be quantized.

    It is one graph: variables select the convolution, and hold the ranges.
    """

    def __init__(self, network: keras.Model, activation_bits: int):
        self.names = convolution_names(network)
        self.bits = activation_bits
        self.selected = tf.Variable(NONE, trainable=False)
        self.ranges = tf.Variable(tf.zeros((len(self.names), 2)), trainable=False)
        self._network = self._copy(network)

        def run(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            found = self._network(tf.cast(images, tf.float32))
            return found["boxes"], found["scores"]

        signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)]
        self._run = tf.function(run, input_signature=signature, autograph=False)

    def observe(self, images: np.ndarray) -> None:
        """Extends the ranges by those of images."""
        self.selected.assign(OBSERVE)
        self._run(images)

    def outputs(self, images: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns boxes and scores without quantization."""
        self.selected.assign(NONE)
        return self._run(images)

    def error(
        self, images: np.ndarray, index: int, true_boxes: tf.Tensor, true_scores: tf.Tensor
    ) -> float:
        """Returns the error of the outputs if only the convolution `index` is quantized."""
        self.selected.assign(index)
        return float(detection_error(*self._run(images), true_boxes, true_scores))

    def _copy(self, network: keras.Model) -> keras.Model:
        indices = {name: index for index, name in enumerate(self.names)}
        copies: list[tuple[layers.Layer, layers.Layer]] = []

        def copy(layer: keras.Operation) -> keras.Operation:
            if isinstance(layer, CONVOLUTIONS):
                return _Switchable(layer, indices[layer.name], self)
            if isinstance(layer, layers.Activation):
                return layers.Activation(layer.activation, name=layer.name)  # some are lambdas
            twin = type(layer).from_config(layer.get_config())
            if isinstance(layer, layers.Layer):
                copies.append((layer, twin))
            return twin

        copied = keras.models.clone_model(network, None, copy, recursive=True)
        for layer, twin in copies:
            twin.set_weights(layer.get_weights())
        return copied


class _Switchable(layers.Layer):
    """A convolution that is quantized while it is selected."""

    def __init__(self, convolution: layers.Layer, index: int, simulation: _Simulation):
        super().__init__(name=convolution.name)
        self._index = index
        self._simulation = simulation
        self._float = convolution
        self._quantized = type(convolution).from_config(
            {**convolution.get_config(), "activation": convolution.activation}
        )
        self._quantized.build(convolution.input.shape)
        kernel = quantized_kernel(convolution)
        self._quantized.set_weights([kernel, *convolution.get_weights()[1:]])

    def compute_output_spec(self, features: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(self._float.compute_output_shape(features.shape), features.dtype)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        selected, ranges = self._simulation.selected, self._simulation.ranges

        def observe() -> tf.Tensor:
            low, high = tf.unstack(ranges[self._index])
            low = tf.minimum(low, tf.reduce_min(features))
            high = tf.maximum(high, tf.reduce_max(features))
            with tf.control_dependencies([ranges[self._index].assign(tf.stack([low, high]))]):
                return self._float(features)

        def quantized() -> tf.Tensor:
            low, high = tf.unstack(ranges[self._index])
            rounded = tf.quantization.fake_quant_with_min_max_vars(
                features, low, high, self._simulation.bits
            )
            return self._quantized(rounded)

        case = tf.where(tf.equal(selected, self._index), 2, 0)
        case = tf.where(tf.equal(selected, OBSERVE), 1, case)
        return tf.switch_case(case, [lambda: self._float(features), observe, quantized])


def _flat(model: keras.Model) -> Iterator[layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        else:
            yield layer


def _spread(canvases: np.ndarray, most: int) -> np.ndarray:
    count = min(most, len(canvases))
    return canvases[np.arange(count) * len(canvases) // count]


def _batches(canvases: np.ndarray) -> list[np.ndarray]:
    return [canvases[i : i + BATCH_SIZE] for i in range(0, len(canvases), BATCH_SIZE)]


def _iou(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns the IoU (B, P) of pairs of boxes (B, P, 4)."""
    sides = tf.minimum(a[..., 2:], b[..., 2:]) - tf.maximum(a[..., :2], b[..., :2])
    shared = tf.reduce_prod(tf.maximum(sides, 0.0), axis=-1)
    areas = [tf.reduce_prod(each[..., 2:] - each[..., :2], axis=-1) for each in (a, b)]
    return tf.math.divide_no_nan(shared, areas[0] + areas[1] - shared)
