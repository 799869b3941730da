"""Graphs of networks: one of a .cfg and one of a detector are compared layer by layer.

A graph has no nodes for what only routes, pads or scales, which the two express differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from utils.errors import UserError
from utils.weights.darknet.cfg import Section

IMAGE_CHANNELS = 3


@dataclass(frozen=True, eq=False)
class Node:
    """A layer.

    Attributes:
        kind: Heading of Darknet's section, `image`, or `split` for a part of the channels.
        where: File and line, or the name of our layer.
        inputs: The nodes whose outputs it takes.
        channels: Channels of its output.
        stride: Stride of its output in pixels of the image.
        settings: Whatever else determines its output, named as in a .cfg.
        layers: Names of our convolution and, if there is one, of its normalization.
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
    """A level of a detector.

    Attributes:
        node: The convolution that returns the logits.
        section: The [yolo] section of a .cfg; None for our detector.
    """

    node: Node
    section: Section | None = None


def pair_nodes(theirs: Sequence[Output], ours: Sequence[Output]) -> dict[Node, Node]:
    """Compares two graphs from their outputs backwards.

    Args:
        theirs: Levels of a .cfg, smallest stride first.
        ours: Levels of our detector, smallest stride first.

    Returns:
        Our node for each of theirs.

    Raises:
        UserError: The graphs differ; names the first difference.
    """
    if [output.node.stride for output in theirs] != [output.node.stride for output in ours]:
        strides = ", ".join(str(output.node.stride) for output in theirs)
        raise UserError(
            f"{theirs[0].node.where}: the strides of the outputs are {strides}, as in no known "
            "network; see the README for those that are"
        )
    pairs: dict[Node, Node] = {}
    pending = [(one.node, other.node) for one, other in zip(theirs, ours, strict=True)]
    while pending:
        one, other = pending.pop()
        if one not in pairs:
            pairs[one] = other
            _compare(one, other)
            pending += zip(one.inputs, other.inputs, strict=True)
        elif pairs[one] is not other:
            raise UserError(
                f"{one.where}: this layer is an input where the known network has {other.where}"
            )
    return pairs


def _compare(one: Node, other: Node) -> None:
    if (one.kind, len(one.inputs)) != (other.kind, len(other.inputs)):
        raise UserError(
            f"{one.where}: [{one.kind}] with {len(one.inputs)} inputs, the known network has "
            f"{other.where} here, [{other.kind}] with {len(other.inputs)}"
        )
    for name, value in other.settings.items():
        found = one.settings[name]
        if found != value:
            raise UserError(f"{one.where}: {name} is {found}, {other.where} has {value}")
