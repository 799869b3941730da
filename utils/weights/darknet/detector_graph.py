"""The graph of one of our detectors, in the terms of a .cfg."""

import keras
from keras import KerasTensor

from nets.detector import Detector
from nets.layers import leaky_relu
from nets.versions import numbers_of
from utils.errors import UserError
from utils.weights.darknet.graph import IMAGE_CHANNELS, Node, Output

# The layers that Darknet's [convolutional] joins.
CONVOLUTIONAL = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Conv2D,
)
ACTIVATIONS = {leaky_relu: "leaky", keras.activations.mish: "mish"}


def graph_of_detector(detector: Detector) -> list[Output]:
    """Builds the graph of a detector.

    Args:
        detector: Any detector.

    Returns:
        Its levels, smallest stride first.

    Raises:
        UserError: A .cfg cannot express the detector; names the layer.
    """
    nodes: dict[str, Node] = {}
    heads = [f"head_p{level}_logits" for level in numbers_of(detector.anchors)]
    return [Output(_node_of(detector.get_layer(head).output, nodes)) for head in heads]


def _node_of(tensor: KerasTensor, nodes: dict[str, Node]) -> Node:
    """The node that returns a tensor, built at the first call."""
    layer, _, index = tensor._keras_history
    if isinstance(layer, keras.Model):  # the backbone within the detector
        return _node_of(layer.outputs[index], nodes)
    key = f"{layer.name}/{index}"
    if key not in nodes:
        nodes[key] = _build(layer, index, nodes)
    return nodes[key]


def _build(layer: keras.Operation, index: int, nodes: dict[str, Node]) -> Node:
    if isinstance(layer, (keras.layers.InputLayer, keras.layers.Rescaling)):
        return Node("image", layer.name, (), IMAGE_CHANNELS, 1)
    if isinstance(layer, CONVOLUTIONAL):
        return _build_convolutional(layer, nodes)
    inputs = tuple(_node_of(tensor, nodes) for tensor in _inputs_of(layer))
    channels, stride, settings = inputs[0].channels, inputs[0].stride, {}
    match layer:
        case keras.layers.MaxPooling2D():
            kind, stride = "maxpool", stride * layer.strides[0]
            settings = {"size": layer.pool_size[0], "stride": layer.strides[0]}
        case keras.layers.UpSampling2D():
            kind, stride = "upsample", stride // layer.size[0]
            settings = {"stride": layer.size[0]}
        case keras.layers.Add():
            kind = "shortcut"
        case keras.layers.Concatenate():
            kind, channels = "route", sum(node.channels for node in inputs)
        case keras.Operation(indices_or_sections=groups):  # keras.ops.split
            kind, channels = "split", channels // groups
            settings = {"groups": groups, "group_id": index}
        case _:
            raise UserError(
                f"{layer.name} is a {type(layer).__name__}, which a .cfg cannot express: only "
                "plain convolutions over one of Darknet's backbones can be written"
            )
    return Node(kind, layer.name, inputs, channels, stride, settings)


def _build_convolutional(layer: keras.Layer, nodes: dict[str, Node]) -> Node:
    """One node for a convolution and the normalization and activation that may follow it.

    Args:
        layer: The last of these layers.
        nodes: The nodes built so far.
    """
    activation, names = "linear", []
    if isinstance(layer, keras.layers.Activation):
        if layer.activation not in ACTIVATIONS:
            raise UserError(
                f"{layer.name} has an activation that OpenCV does not read from a .cfg: "
                "train with --conv plain"
            )
        activation, layer = ACTIVATIONS[layer.activation], _previous(layer)
    if normalized := isinstance(layer, keras.layers.BatchNormalization):
        names, layer = [layer.name], _previous(layer)
    if not isinstance(layer, keras.layers.Conv2D):
        raise UserError(
            f"{layer.name} is a {type(layer).__name__}, which a .cfg cannot express here: "
            "train with --conv plain"
        )
    padding = _previous(layer)
    if isinstance(padding, keras.layers.ZeroPadding2D):
        features = padding.input
    elif layer.strides[0] > 1:
        raise UserError(
            f"{layer.name} is padded as in Keras, which Darknet does not do: only networks over "
            "one of Darknet's backbones can be written"
        )
    else:
        features = layer.input
    before = _node_of(features, nodes)
    settings = {
        "filters": layer.filters,
        "size": layer.kernel_size[0],
        "stride": layer.strides[0],
        "batch_normalize": int(normalized),
        "activation": activation,
    }
    return Node(
        "convolutional",
        layer.name,
        (before,),
        layer.filters,
        before.stride * layer.strides[0],
        settings,
        (layer.name, *names),
    )


def _previous(layer: keras.Layer) -> keras.Operation:
    """The layer before another, found by the first input.

    A normalization may have a second input: the features that a 1x1 convolution widened, from which
    it computes the same result faster.
    """
    return _inputs_of(layer)[0]._keras_history[0]


def _inputs_of(layer: keras.Operation) -> list[KerasTensor]:
    return layer.input if isinstance(layer.input, list) else [layer.input]
