"""One picture of a network, drawn from a .cfg or from a detector, so that the two can be compared.

Sections that only route and layers that only pad or scale do not show in it: what is left is nodes
and what each of them reads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import keras
from keras import KerasTensor

from nets.detector import Detector
from nets.layers import leaky_relu
from nets.versions import numbers_of
from utils.errors import UserError
from utils.weights.darknet.cfg import Section

IMAGE_CHANNELS = 3
BLOCK = (keras.layers.Activation, keras.layers.BatchNormalization, keras.layers.Conv2D)
ACTIVATIONS = {leaky_relu: "leaky", keras.activations.mish: "mish"}


@dataclass(frozen=True, eq=False)
class Node:
    """A layer.

    Attributes:
        kind: the heading of Darknet's section, `image`, or `split` for a part of the channels.
        where: file and line, or the name of our layer.
        inputs: what it reads.
        channels: of its output.
        stride: pixels of the image a cell of its output.
        settings: what else decides what it computes, named as in a .cfg.
        layers: names of our convolution and of its normalization.
    """

    kind: str
    where: str
    inputs: tuple["Node", ...]
    channels: int
    stride: int
    settings: dict[str, int | str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """A level of the detector.

    Attributes:
        node: the convolution whose output is read as boxes.
        section: of the .cfg; None for a detector's.
    """

    node: Node
    section: Section | None = None


def graph_of_cfg(sections: Sequence[Section]) -> tuple[list[Node], list[Output]]:
    """Draws a .cfg.

    Args:
        sections: of the file, [net] first.

    Returns:
        Its convolutions in the order of the file, and its [yolo] layers, smallest stride first.

    Raises:
        UserError: it cannot be drawn; names file and line.
    """
    image = Node("image", sections[0].where, (), IMAGE_CHANNELS, 1)
    drawn: list[Node] = []
    outputs = []
    for section in sections[1:]:
        before = drawn[-1] if drawn else image
        if section.kind == "yolo":
            outputs.append(Output(before, section))
            drawn.append(before)
        else:
            drawn.append(_DRAW[section.kind](section, before, drawn))
    if not outputs:
        raise UserError(f"{sections[0].where}: no [yolo] follows, this is no detector known here")
    convolutions = [node for node in dict.fromkeys(drawn) if node.kind == "convolutional"]
    return convolutions, sorted(outputs, key=lambda output: output.node.stride)


def _draw_convolution(section: Section, before: Node, _: list[Node]) -> Node:
    size, stride = section.whole("size", "1", 1), section.whole("stride", "1", 1)
    if size > 1 and not section.whole("pad", "0"):
        raise UserError(f"{section.where}: a convolution without pad=1 is not known here")
    filters = section.whole("filters", "1", 1)
    settings = {
        "filters": filters,
        "size": size,
        "stride": stride,
        "batch_normalize": section.whole("batch_normalize", "0"),
        "activation": section.text("activation", "logistic"),
    }
    return _node(section, (before,), filters, before.stride * stride, settings)


def _draw_maxpool(section: Section, before: Node, _: list[Node]) -> Node:
    stride = section.whole("stride", "1", 1)
    settings = {"size": section.whole("size", str(stride), 1), "stride": stride}
    return _node(section, (before,), before.channels, before.stride * stride, settings)


def _draw_upsample(section: Section, before: Node, _: list[Node]) -> Node:
    stride = section.whole("stride", "2", 1)
    return _node(section, (before,), before.channels, before.stride // stride, {"stride": stride})


def _draw_shortcut(section: Section, before: Node, drawn: list[Node]) -> Node:
    if section.text("activation", "linear") != "linear":
        raise UserError(f"{section.where}: a shortcut with an activation is not known here")
    other = _at(section, section.whole("from", least=-math.inf), drawn)
    return _node(section, (before, other), before.channels, before.stride, {})


def _draw_route(section: Section, _: Node, drawn: list[Node]) -> Node:
    nodes = tuple(_at(section, index, drawn) for index in section.whole_numbers("layers"))
    groups = section.whole("groups", "1", 1)
    channels = sum(node.channels for node in nodes)
    if groups > 1 and len(nodes) == 1:
        settings = {"groups": groups, "group_id": section.whole("group_id", "0")}
        return Node("split", section.where, nodes, channels // groups, nodes[0].stride, settings)
    if groups > 1:
        raise UserError(f"{section.where}: a route of groups of several layers is not known here")
    if len(nodes) == 1:
        return nodes[0]
    return _node(section, nodes, channels, nodes[0].stride, {})


def _at(section: Section, index: int, drawn: list[Node]) -> Node:
    """The layer that a section names, counted from the first or, below 0, backwards from itself."""
    place = index + len(drawn) if index < 0 else index
    if not 0 <= place < len(drawn):
        raise UserError(f"{section.where}: there is no layer {index} before this one")
    return drawn[place]


def _node(
    section: Section,
    inputs: tuple[Node, ...],
    channels: int,
    stride: int,
    settings: dict[str, int | str],
) -> Node:
    return Node(section.kind, section.where, inputs, channels, stride, settings)


_DRAW = {
    "convolutional": _draw_convolution,
    "maxpool": _draw_maxpool,
    "upsample": _draw_upsample,
    "shortcut": _draw_shortcut,
    "route": _draw_route,
}


def graph_of_detector(detector: Detector) -> list[Output]:
    """Draws a detector as a .cfg would have it.

    Args:
        detector: any.

    Returns:
        Its levels, smallest stride first.

    Raises:
        UserError: it computes what Darknet cannot; names the layer.
    """
    drawn: dict[str, Node] = {}
    heads = [f"head_p{level}_logits" for level in numbers_of(detector.anchors)]
    return [Output(_draw_tensor(detector.get_layer(head).output, drawn)) for head in heads]


def _draw_tensor(tensor: KerasTensor, drawn: dict[str, Node]) -> Node:
    layer, _, index = tensor._keras_history
    if isinstance(layer, keras.Model):  # the backbone within the detector
        return _draw_tensor(layer.outputs[index], drawn)
    key = f"{layer.name}/{index}"
    if key not in drawn:
        drawn[key] = _draw_layer(layer, index, drawn)
    return drawn[key]


def _draw_layer(layer: keras.Operation, index: int, drawn: dict[str, Node]) -> Node:
    if isinstance(layer, (keras.layers.InputLayer, keras.layers.Rescaling)):
        return Node("image", layer.name, (), IMAGE_CHANNELS, 1)
    if isinstance(layer, BLOCK):
        return _draw_block(layer, drawn)
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    inputs = tuple(_draw_tensor(tensor, drawn) for tensor in tensors)
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
                f"{layer.name} is a {type(layer).__name__}, which a .cfg does not have: only plain "
                "convolutions over one of Darknet's backbones can be written"
            )
    return Node(kind, layer.name, inputs, channels, stride, settings)


def _draw_block(layer: keras.Layer, drawn: dict[str, Node]) -> Node:
    """A convolution with the normalization and the activation that follow it, of which one ends."""
    activation, names = "linear", []
    if isinstance(layer, keras.layers.Activation):
        if layer.activation not in ACTIVATIONS:
            raise UserError(
                f"{layer.name} is none of the activations that OpenCV reads of a .cfg: "
                "train with --conv plain"
            )
        activation, layer = ACTIVATIONS[layer.activation], _before(layer)
    if normalized := isinstance(layer, keras.layers.BatchNormalization):
        names, layer = [layer.name], _before(layer)
    if not isinstance(layer, keras.layers.Conv2D):
        raise UserError(
            f"{layer.name} is a {type(layer).__name__}, which a .cfg does not have at this place: "
            "train with --conv plain"
        )
    source = _before(layer)
    if isinstance(source, keras.layers.ZeroPadding2D):
        before = _draw_tensor(source.input, drawn)
    elif layer.strides[0] > 1:
        raise UserError(f"{layer.name} is padded as Keras does, which Darknet cannot")
    else:
        before = _draw_tensor(layer.input, drawn)
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


def _before(layer: keras.Layer) -> keras.Layer:
    return layer.input._keras_history[0]


def match(theirs: Sequence[Output], ours: Sequence[Output]) -> dict[Node, Node]:
    """Lays one picture over another.

    Args:
        theirs: levels of one network, smallest stride first.
        ours: those of the other.

    Returns:
        For each node of theirs the one of ours that it falls on.

    Raises:
        UserError: they differ; names where.
    """
    if [output.node.stride for output in theirs] != [output.node.stride for output in ours]:
        strides = ", ".join(str(output.node.stride) for output in theirs)
        raise UserError(f"boxes are found at strides {strides}, no such network is known here")
    pairs: dict[Node, Node] = {}
    waiting = [(one.node, other.node) for one, other in zip(theirs, ours, strict=True)]
    while waiting:
        one, other = waiting.pop()
        if one not in pairs:
            pairs[one] = other
            _compare(one, other)
            waiting += zip(one.inputs, other.inputs, strict=True)
        elif pairs[one] is not other:
            raise UserError(f"{one.where}: is not read where {other.where} is")
    return pairs


def _compare(one: Node, other: Node) -> None:
    if (one.kind, len(one.inputs)) != (other.kind, len(other.inputs)):
        raise UserError(
            f"{one.where}: [{one.kind}] of {len(one.inputs)} stands where {other.where} is, "
            f"[{other.kind}] of {len(other.inputs)}"
        )
    for name, value in other.settings.items():
        found = one.settings[name]
        if found != value:
            raise UserError(f"{one.where}: {name} is {found}, {other.where} has {value}")
