"""Ranks convolutions by how much the detections change if only one of them is quantized."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tqdm import tqdm

from nets.inference_network import CONVOLUTIONS, convolutions_of
from utils.export.canvases import evenly_spaced

# Errors hardly depend on the images: with MobileNetV2 on BCCD, the ranks from 4 and from 8 images
# have a correlation of 0.999. Ranges need more images.
ERROR_IMAGES = 4
RANGE_IMAGES = 64
# How the ranking carries over to a runtime: the error of the same network in OpenVINO, on other
# images, is 0.051 with all 113 convolutions quantized. With the first 2 in float it is 0.031, with
# 12 0.020, with 40 0.013; with 12 at random 0.050, with the last 40 0.051.
BATCH_SIZE = 4

NONE = -1  # no convolution is quantized


def rank_convolutions(
    network: keras.Model, canvases: np.ndarray, activation_bits: int = 8
) -> dict[str, float]:
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
        The error of each convolution by its name, largest first, see `detection_error`.
    """
    simulation = _Simulation(network, activation_bits)
    for batch in _batches(canvases, RANGE_IMAGES):
        simulation.observe(batch)
    samples = [(batch, simulation.outputs(batch)) for batch in _batches(canvases, ERROR_IMAGES)]
    names = tqdm(simulation.names, "ranking convolutions", delay=2, leave=False, disable=None)
    errors = {name: simulation.error(samples, index) for index, name in enumerate(names)}
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


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


def quantized_kernel(layer: layers.Layer) -> np.ndarray:
    """Returns the kernel of a convolution, rounded to symmetric int8 per output channel."""
    kernel = layer.get_weights()[0]
    # (h, w, channels, filters), but (h, w, channels, 1) if depthwise.
    axes = (0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (0, 1, 2)
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / np.float32(127)
    scale = np.where(scale > 0, scale, np.float32(1))
    return np.round(kernel / scale) * scale


class _Simulation:
    """A copy of a network in which one convolution at a time is quantized.

    Variables select the convolution, so that there is one graph for all of them.
    """

    def __init__(self, network: keras.Model, activation_bits: int):
        self.names = [layer.name for layer in convolutions_of(network)]
        self._selection = _Selection(activation_bits)
        self._ranges = np.zeros((len(self.names), 2), np.float32)
        self._convolutions: dict[str, layers.Layer] = {}
        self._probes: dict[str, _Probe] = {}
        self._copy = self._copied(network)
        signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)]
        self._run, self._measure = (
            tf.function(each, input_signature=signature, autograph=False)
            for each in (self._outputs_of, self._ranges_of)
        )

    def observe(self, images: np.ndarray) -> None:
        """Extends the ranges by those of images."""
        lows, highs = self._measure(images).numpy().T
        self._ranges[:, 0] = np.minimum(self._ranges[:, 0], lows)
        self._ranges[:, 1] = np.maximum(self._ranges[:, 1], highs)

    def outputs(self, images: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns boxes and scores without quantization."""
        return self._run(images)

    def error(
        self, samples: Sequence[tuple[np.ndarray, tuple[tf.Tensor, tf.Tensor]]], index: int
    ) -> float:
        """Returns the mean error of the outputs if only the convolution `index` is quantized.

        Args:
            samples: Batches of images, and boxes and scores without quantization.
            index: Index in `names`.
        """
        layer = self._convolutions[self.names[index]]
        kernel = layer.get_weights()[0]
        layer.kernel.assign(quantized_kernel(layer))
        self._selection.index.assign(index)
        self._selection.range.assign(self._ranges[index])
        errors = [
            float(detection_error(*self._run(images), *expected)) for images, expected in samples
        ]
        self._selection.index.assign(NONE)
        layer.kernel.assign(kernel)
        return float(np.mean(errors))

    def _outputs_of(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = self._copy(tf.cast(images, tf.float32))
        return found["boxes"], found["scores"]

    def _ranges_of(self, images: tf.Tensor) -> tf.Tensor:
        self._copy(tf.cast(images, tf.float32))
        return tf.stack([self._probes[name].range for name in self.names])

    def _copied(self, network: keras.Model) -> keras.Model:
        copies: list[tuple[layers.Layer, layers.Layer]] = []
        self._probes = {
            name: _Probe(index, self._selection) for index, name in enumerate(self.names)
        }

        def copy(layer: keras.Operation) -> keras.Operation:
            config = layer.get_config()
            if isinstance(layer, (layers.Activation, *CONVOLUTIONS)):
                config["activation"] = layer.activation  # some are lambdas
                twin = type(layer)(**config)
            else:
                twin = type(layer).from_config(config)
            if isinstance(layer, layers.Layer):
                copies.append((layer, twin))
            if isinstance(layer, CONVOLUTIONS):
                self._convolutions[layer.name] = twin
            return twin

        def call(layer: keras.Operation, *args: keras.KerasTensor, **options: object) -> object:
            if isinstance(layer, CONVOLUTIONS):
                args = (self._probes[layer.name](*args),)
            return layer(*args, **options)

        copied = keras.models.clone_model(network, None, copy, call, recursive=True)
        for layer, twin in copies:
            twin.set_weights(layer.get_weights())
        return copied


class _Selection:
    """The convolution that is quantized, and the range of its input."""

    def __init__(self, bits: int):
        self.bits = bits
        self.index = tf.Variable(NONE, trainable=False)
        self.range = tf.Variable([0.0, 0.0], trainable=False)


class _Probe(layers.Layer):
    """Measures the input of a convolution, and rounds it if the convolution is selected.

    Attributes:
        range: Smallest and largest value, in the graph that was traced last.
    """

    def __init__(self, index: int, selection: _Selection):
        super().__init__()
        self._index = index
        self._selection = selection
        self.range: tf.Tensor | None = None

    def compute_output_spec(self, features: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(features.shape, features.dtype)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Returns the features; unless they are rounded, nothing is computed."""
        self.range = tf.stack([tf.reduce_min(features), tf.reduce_max(features)])
        selection = self._selection
        # `tf.cond` makes graphs of both branches, with which tracing takes five times as long.
        others, selected = tf.raw_ops.Switch(
            data=features, pred=tf.equal(selection.index, self._index)
        )
        rounded = tf.quantization.fake_quant_with_min_max_vars(
            selected, *tf.unstack(selection.range), selection.bits
        )
        merged = tf.raw_ops.Merge(inputs=[others, rounded]).output
        return tf.ensure_shape(merged, features.shape)


def _batches(canvases: np.ndarray, most: int) -> list[np.ndarray]:
    chosen = np.stack(evenly_spaced(canvases, most))
    return [chosen[i : i + BATCH_SIZE] for i in range(0, len(chosen), BATCH_SIZE)]


def _iou(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns the IoU (B, P) of pairs of boxes (B, P, 4)."""
    sides = tf.minimum(a[..., 2:], b[..., 2:]) - tf.maximum(a[..., :2], b[..., :2])
    shared = tf.reduce_prod(tf.maximum(sides, 0.0), axis=-1)
    areas = [tf.reduce_prod(each[..., 2:] - each[..., :2], axis=-1) for each in (a, b)]
    return tf.math.divide_no_nan(shared, areas[0] + areas[1] - shared)
