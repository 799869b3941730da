"""Assigns the operations of a training step to kinds of work, directions and parts."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.profile_trace import XLA, Operation
from nets.scopes import GRADIENTS

if TYPE_CHECKING:
    from keras import Layer

    from nets.detector import Detector

POINTWISE = "1x1 convolutions"
SPATIAL = "other convolutions"
DEPTHWISE = "depthwise convolutions"
NORMALIZATION = "batch normalization"
ACTIVATION = "activations"
OTHER = "concatenation, addition, resampling, pooling"
CASTS = "casts and transpositions"
LOSS = "loss and assignment"
UPDATE = "optimizer, average and clipping"
KINDS = (POINTWISE, SPATIAL, DEPTHWISE, NORMALIZATION, ACTIVATION, OTHER, CASTS, LOSS, UPDATE)
CONVOLUTIONS = (POINTWISE, SPATIAL, DEPTHWISE)

FORWARD, BACKWARD = "forward", "backward"
OF_INPUT, OF_KERNEL = "gradient of the input", "gradient of the kernel"
DIRECTIONS = (FORWARD, OF_INPUT, OF_KERNEL, BACKWARD)

IN_DETECTOR = "detector"
CAST_TYPES = {"Cast", "Transpose", "ToTf", "InputConversion"}
ONEDNN = re.compile(r"^_?(Mkl)?(Native)?")  # prefix of the operations that oneDNN executes


class Work(NamedTuple):
    """What an operation does.

    Attributes:
        kind: One of `KINDS`.
        direction: One of `DIRECTIONS`; empty for the update of the weights.
        part: `backbone`, `neck`, `head`, `several` of them, `loss` or `update`.
    """

    kind: str
    direction: str
    part: str


def kinds_of_layers(detector: "Detector") -> dict[str, str]:
    """Returns the kind of work of each layer by its name."""
    from summary import innermost

    return {layer.name: kind_of_layer(layer) for layer in innermost(detector.layers)}


def kind_of_layer(layer: "Layer") -> str:
    """Returns the kind of work of a layer."""
    import keras

    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return DEPTHWISE
    if isinstance(layer, keras.layers.Conv2D):
        return POINTWISE if layer.kernel_size == (1, 1) else SPATIAL
    if isinstance(layer, keras.layers.BatchNormalization):
        return NORMALIZATION
    if isinstance(layer, keras.layers.Activation | keras.layers.ReLU):
        return ACTIVATION
    return OTHER


def work_of(operation: Operation, layers: Mapping[str, str]) -> Work:
    """Assigns an operation by its type and by the layer in its name.

    1x1 convolutions whose results are normalized through their factors (`nets.products`) run inside
    the normalization. They count as convolutions, but the products of the statistics and of their
    gradients count as normalization.

    Args:
        operation: The operation.
        layers: Kind of each layer by its name.
    """
    scopes = operation.name.split("/")
    is_gradient = scopes[0] == GRADIENTS
    scopes = scopes[is_gradient:]
    if _unnumbered(scopes[0]) != IN_DETECTOR or operation.type == XLA:
        return _outside(operation, scopes, is_gradient)
    layer = _layer_in(scopes[1:], layers)
    within = layers.get(layer, OTHER)
    part = "backbone" if _unnumbered(scopes[1]) == "backbone" else layer.split("_")[0]
    if part not in ("backbone", "neck", "head"):
        part = "head"  # the concatenation of the logits
    direction = BACKWARD if is_gradient else FORWARD
    bare = ONEDNN.sub("", operation.type)
    if bare in CAST_TYPES:
        return Work(CASTS, direction, part)
    if "Relu" in bare:
        return Work(ACTIVATION, direction, part)
    if is_gradient and "Filter" in bare:
        kind = DEPTHWISE if "Depthwise" in bare else within
        return Work(kind if kind in CONVOLUTIONS else POINTWISE, OF_KERNEL, part)
    if "DepthwiseConv" in bare:
        return Work(DEPTHWISE, OF_INPUT if is_gradient else FORWARD, part)
    if "Conv2D" in bare and not (is_gradient and within == NORMALIZATION and "Input" not in bare):
        kind = within if within in CONVOLUTIONS else POINTWISE
        return Work(kind, OF_INPUT if is_gradient else FORWARD, part)
    if "BatchMatMul" in bare and is_gradient:
        return Work(POINTWISE, OF_KERNEL, part)
    if within == DEPTHWISE and is_gradient:
        return Work(DEPTHWISE, OF_INPUT, part)  # zeros between the values, see `nets.kernels`
    if within in CONVOLUTIONS and is_gradient:
        return Work(within, OF_KERNEL, part)  # the sum over the images
    return Work(within, direction, part)


def _outside(operation: Operation, scopes: list[str], is_gradient: bool) -> Work:
    """Assigns an operation that belongs to no layer."""
    direction = BACKWARD if is_gradient else FORWARD
    if operation.type == XLA or _unnumbered(scopes[0]) == "loss":
        return Work(LOSS, direction, "loss")
    if scopes[0].startswith("AddN"):  # sums the gradients of features that several layers read
        return Work(OTHER, BACKWARD, "several")
    if is_gradient:
        return Work(LOSS, BACKWARD, "loss")
    return Work(UPDATE, "", "update")


def _layer_in(scopes: list[str], layers: Mapping[str, str]) -> str:
    """Returns the first name of a layer; Keras and TensorFlow number repeated names."""
    for scope in scopes:
        for name in (_unnumbered(scope), scope):
            if name in layers:
                return name
    return ""


def _unnumbered(scope: str) -> str:
    return re.sub(r"_\d+$", "", scope)
