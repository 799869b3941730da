"""The graph of a .cfg."""

import math
from collections.abc import Sequence

from utils.errors import UserError
from utils.weights.darknet.cfg import Section
from utils.weights.darknet.graph import IMAGE_CHANNELS, Node, Output


def graph_of_cfg(sections: Sequence[Section]) -> tuple[list[Node], list[Output]]:
    """Builds the graph of a .cfg.

    Args:
        sections: Sections of the file, [net] first.

    Returns:
        Its convolutions in the order of the file, and its [yolo] layers, smallest stride first.

    Raises:
        UserError: A section is not supported or names a layer that does not exist; names file and
            line.
    """
    image = Node("image", sections[0].where, (), IMAGE_CHANNELS, 1)
    nodes: list[Node] = []  # one per layer, as the sections count them
    outputs = []
    for section in sections[1:]:
        previous = nodes[-1] if nodes else image
        if section.kind == "yolo":
            outputs.append(Output(previous, section))
            nodes.append(previous)
        else:
            nodes.append(_BUILDERS[section.kind](section, previous, nodes))
    if not outputs:
        raise UserError(
            f"{sections[0].where}: no [yolo] section follows, name the .cfg of a YOLO detector"
        )
    convolutions = [node for node in dict.fromkeys(nodes) if node.kind == "convolutional"]
    return convolutions, sorted(outputs, key=lambda output: output.node.stride)


def _convolution(section: Section, previous: Node, _: list[Node]) -> Node:
    size, stride = section.whole("size", "1", 1), section.whole("stride", "1", 1)
    if size > 1 and not section.whole("pad", "0"):
        raise UserError(f"{section.where}: a convolution without pad=1 is not supported")
    filters = section.whole("filters", "1", 1)
    settings = {
        "filters": filters,
        "size": size,
        "stride": stride,
        "batch_normalize": section.whole("batch_normalize", "0"),
        "activation": section.text("activation", "logistic"),
    }
    return _node(section, (previous,), filters, previous.stride * stride, settings)


def _maxpool(section: Section, previous: Node, _: list[Node]) -> Node:
    stride = section.whole("stride", "1", 1)
    settings = {"size": section.whole("size", str(stride), 1), "stride": stride}
    return _node(section, (previous,), previous.channels, previous.stride * stride, settings)


def _upsample(section: Section, previous: Node, _: list[Node]) -> Node:
    stride = section.whole("stride", "2", 1)
    settings = {"stride": stride}
    return _node(section, (previous,), previous.channels, previous.stride // stride, settings)


def _shortcut(section: Section, previous: Node, nodes: list[Node]) -> Node:
    if section.text("activation", "linear") != "linear":
        raise UserError(f"{section.where}: a shortcut with an activation is not supported")
    other = _at(section, section.whole("from", least=-math.inf), nodes)
    return _node(section, (previous, other), previous.channels, previous.stride, {})


def _route(section: Section, _: Node, nodes: list[Node]) -> Node:
    inputs = tuple(_at(section, index, nodes) for index in section.whole_numbers("layers"))
    groups = section.whole("groups", "1", 1)
    channels = sum(node.channels for node in inputs)
    if groups > 1 and len(inputs) == 1:
        settings = {"groups": groups, "group_id": section.whole("group_id", "0")}
        return Node("split", section.where, inputs, channels // groups, inputs[0].stride, settings)
    if groups > 1:
        raise UserError(f"{section.where}: groups of several layers are not supported")
    if len(inputs) == 1:
        return inputs[0]
    return _node(section, inputs, channels, inputs[0].stride, {})


def _at(section: Section, index: int, nodes: list[Node]) -> Node:
    """The node of a layer, counted from the first or, if negative, backwards from the section."""
    position = index + len(nodes) if index < 0 else index
    if not 0 <= position < len(nodes):
        raise UserError(f"{section.where}: there is no layer {index} before this one, correct it")
    return nodes[position]


def _node(
    section: Section,
    inputs: tuple[Node, ...],
    channels: int,
    stride: int,
    settings: dict[str, int | str],
) -> Node:
    return Node(section.kind, section.where, inputs, channels, stride, settings)


_BUILDERS = {
    "convolutional": _convolution,
    "maxpool": _maxpool,
    "upsample": _upsample,
    "shortcut": _shortcut,
    "route": _route,
}
