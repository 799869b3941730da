"""The network that is exported: a detector without what only training needs.

It has the weights and the layer names of the detector, and computes the same with fewer and simpler
operations, which all formats and their integer kernels support.
"""

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from nets.backbones.shufflenetv2 import ChannelShuffle
from nets.decoder import make_priors, place_boxes
from nets.detector import Detector
from nets.kernels import BatchNorm
from nets.versions import ANCHORS_PER_LEVEL, numbers_of

PARTS = ("centre", "size", "objectness", "classes")  # of the logits of an anchor
CONVOLUTIONS = (layers.DepthwiseConv2D, layers.Conv2D)


class Upsample(layers.Layer):
    """Doubles height and width by repeating pixels.

    Keras' UpSampling2D does the same by tensors of rank 5, which LiteRT cannot quantize.
    """

    def call(self, features: KerasTensor) -> KerasTensor:
        """(B, H, W, C) -> (B, 2 H, 2 W, C)."""
        size = [2 * side for side in features.shape[1:3]]
        return ops.image.resize(features, size, interpolation="nearest")


class FlatShuffle(layers.Layer):
    """Alternates the channels of two features like `ChannelShuffle`, by tensors of rank 4."""

    def call(self, features: list[KerasTensor]) -> KerasTensor:
        """Two features (B, H, W, C) -> (B, H, W, 2 C)."""
        _, height, width, channels = features[0].shape
        both = ops.reshape(ops.concatenate(features, axis=-1), (-1, height * width, 2, channels))
        mixed = ops.transpose(both, (0, 1, 3, 2))
        return ops.reshape(mixed, (-1, height, width, 2 * channels))


REPLACED = {layers.UpSampling2D: Upsample, ChannelShuffle: FlatShuffle}


def inference_network(detector: Detector) -> keras.Model:
    """Builds the network of a detector for inference.

    Batch normalizations are folded into the convolutions before them. The last convolution of each
    level is split into four, for centre, size, objectness and classes, so that each of them has its
    own range of values when it is quantized.

    Args:
        detector: The detector. It does not change, and the result does not change with it.

    Returns:
        A model from `images` (B, H, W, 3), float32 RGB in 0..255, to a dict of `boxes` (B, P, 4),
        xyxy as fractions of the input, not clipped to it, and `scores` (B, P, C), objectness times
        class probability. P is in the order of `nets.head`.

    Raises:
        ValueError: A batch normalization does not follow a convolution.
    """
    heads = [detector.get_layer(f"head_p{n}_logits") for n in numbers_of(detector.anchors)]
    trunk = _fold(keras.Model(detector.input, [head.input for head in heads]))
    columns = [
        _split_head(features, head, detector.num_classes)
        for features, head in zip(trunk.outputs, heads, strict=True)
    ]
    centre, size, objectness, classes = (
        layers.Concatenate(axis=1, name=name)(parts)
        for name, parts in zip(PARTS, zip(*columns, strict=True), strict=True)
    )
    priors = make_priors(detector.input_size, detector.anchors, detector.version.scale_xy)
    height, width = detector.input_size
    boxes = place_boxes(centre, size, priors) * np.float32(
        [1 / width, 1 / height, 1 / width, 1 / height]
    )
    scores = ops.sigmoid(objectness) * ops.sigmoid(classes)
    outputs = {
        "boxes": layers.Identity(name="boxes")(boxes),
        "scores": layers.Identity(name="scores")(scores),
    }
    return keras.Model(trunk.input, outputs, name="detector")


def convolutions_of(network: keras.Model) -> list[layers.Layer]:
    """Returns the convolutions of a network, also of the models in it, in order."""
    return [layer for layer in network._flatten_layers() if isinstance(layer, CONVOLUTIONS)]


def _split_head(features: KerasTensor, head: layers.Conv2D, num_classes: int) -> list[KerasTensor]:
    """Predicts the four parts of the logits, (B, P, channels) each."""
    kernel, bias = (weight.numpy() for weight in (head.kernel, head.bias))
    kernel = kernel.reshape(*kernel.shape[:3], ANCHORS_PER_LEVEL, 5 + num_classes)
    bias = bias.reshape(ANCHORS_PER_LEVEL, 5 + num_classes)
    columns = (slice(0, 2), slice(2, 4), slice(4, 5), slice(5, None))
    _, height, width, channels = features.shape
    parts = []
    for name, chosen in zip(PARTS, columns, strict=True):
        part = kernel[..., chosen].reshape(1, 1, channels, -1), bias[..., chosen].ravel()
        conv = layers.Conv2D(len(part[1]), 1, name=f"{head.name.removesuffix('_logits')}_{name}")
        rows = (height * width * ANCHORS_PER_LEVEL, len(part[1]) // ANCHORS_PER_LEVEL)
        parts.append(layers.Reshape(rows)(conv(features)))
        conv.set_weights(part)
    return parts


def _fold(model: keras.Model) -> keras.Model:
    """Copies a model, with batch normalizations folded into the convolutions before them."""
    norms: dict[str, BatchNorm] = {}
    margins: dict[str, int] = {}
    copies: list[tuple[layers.Layer, layers.Layer]] = []

    def copy(layer: keras.Operation) -> keras.Operation:
        config = layer.get_config()
        if isinstance(layer, BatchNorm):
            norms[_convolution_before(layer).name] = layer
            return layers.Identity()
        if isinstance(layer, CONVOLUTIONS):
            plain = next(kind for kind in CONVOLUTIONS if isinstance(layer, kind))
            margins[layer.name] = getattr(layer, "margin", 0)
            twin = plain(**{**config, "use_bias": True, "activation": layer.activation})
            copies.append((layer, twin))
            return twin
        if isinstance(layer, layers.Activation):
            # A configuration cannot hold a lambda.
            return layers.Activation(layer.activation, name=layer.name)
        if kind := REPLACED.get(type(layer)):
            return kind(name=layer.name)
        return type(layer).from_config(config)

    def call(layer: keras.Operation, *args: KerasTensor, **options: object) -> KerasTensor:
        if isinstance(layer, layers.Identity):
            return args[0]
        if margin := margins.get(layer.name):
            args = (layers.ZeroPadding2D(margin)(*args),)
        return layer(*args, **options)

    folded = keras.models.clone_model(model, None, copy, call, recursive=True)
    for layer, twin in copies:
        twin.set_weights(_folded_weights(layer, norms.get(layer.name)))
    return folded


def _convolution_before(norm: BatchNorm) -> layers.Layer:
    # A normalization through factors has two inputs, of which the first is the convolution.
    convolution = keras.tree.flatten(norm.input)[0]._keras_history.operation
    if not isinstance(convolution, CONVOLUTIONS) or convolution.use_bias:
        raise ValueError(f"{norm.name} does not follow a convolution without bias")
    return convolution


def _folded_weights(layer: layers.Layer, norm: BatchNorm | None) -> list[np.ndarray]:
    """Returns kernel and bias of a convolution that includes its normalization, if it has one."""
    if norm is None:
        return layer.get_weights()
    weights = (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    gamma, beta, mean, variance = (np.asarray(weight.numpy(), np.float64) for weight in weights)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    (kernel,) = layer.get_weights()
    # (h, w, channels, filters), but (h, w, channels, 1) if depthwise.
    columns = scale[:, None] if isinstance(layer, layers.DepthwiseConv2D) else scale
    return [np.float32(kernel * columns), np.float32(beta - mean * scale)]
