"""Reads detectors of Darknet, and the backbones in them, from .cfg and .weights files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from nets.conventions import DARKNET
from nets.detector import Detector
from nets.versions import ANCHORS_PER_LEVEL, VERSIONS, YoloVersion, with_anchors, with_conv
from utils.config import Resize
from utils.errors import UserError
from utils.layer_tensors import LayerTensors
from utils.weights.darknet.cfg import Section, read_cfg
from utils.weights.darknet.cfg_graph import graph_of_cfg
from utils.weights.darknet.detector_graph import graph_of_detector
from utils.weights.darknet.graph import Node, Output, pair_nodes
from utils.weights.darknet.weights_file import WeightsFile, keys_of, shapes_of
from utils.weights.foreign import ForeignDetector

# The networks in Darknet's cfg/, by number of convolutions, and how the program that trained them
# fits images into the input: pjreddie/darknet keeps the aspect ratio, AlexeyAB/darknet does not.
NETWORKS: dict[int, tuple[str, YoloVersion, Resize]] = {
    75: ("darknet53", VERSIONS["v3"], "letterbox"),
    76: ("darknet53", VERSIONS["v3-spp"], "letterbox"),
    13: ("darknet_tiny", VERSIONS["v3-tiny"], "letterbox"),
    110: ("cspdarknet53", with_conv(VERSIONS["v4"], "plain"), "stretch"),
    21: ("cspdarknet_tiny", VERSIONS["v4-tiny"], "stretch"),
}


def read_darknet(weights: Path, cfg: Path) -> ForeignDetector:
    """Reads a detector.

    Args:
        weights: Its `.weights`.
        cfg: Its `.cfg`.

    Raises:
        UserError: The network is not in `NETWORKS`, or the two files do not belong together.
    """
    sections = read_cfg(cfg)
    convolutions, outputs = graph_of_cfg(sections)
    backbone, version, default_resize = _network(convolutions, cfg)
    num_classes = _classes_of(outputs)
    pairs = _pairs(convolutions, outputs, backbone, version, num_classes)
    file = WeightsFile(weights)
    tensors: LayerTensors = {}
    for node in convolutions:
        tensors |= _take(file, node, pairs[node])
    file.finish()
    return ForeignDetector(
        backbone=backbone,
        width=1.0,
        convention=DARKNET,
        yolo=_decoded_as(outputs, version),
        num_classes=num_classes,
        input_size=_input_size(sections[0]),
        resize=_resize_of(sections[0], default_resize),
        tensors=tensors,
    )


def read_backbone(weights: Path, cfg: Path, backbone: str) -> LayerTensors:
    """Reads the backbone of a detector; the file may end anywhere behind it.

    Users of Darknet start training from such files, for example darknet53.conv.74.

    Args:
        weights: A `.weights`, or the first part of one.
        cfg: The `.cfg` of the whole detector.
        backbone: Name of the expected backbone.

    Returns:
        Tensors under the names of our layers.

    Raises:
        UserError: The network has another backbone, or the file ends within the backbone.
    """
    convolutions, outputs = graph_of_cfg(read_cfg(cfg))
    found, version, _ = _network(convolutions, cfg)
    if found != backbone:
        raise UserError(f"the backbone of {cfg} is {found}, use --backbone {found}")
    pairs = _pairs(convolutions, outputs, backbone, version, _classes_of(outputs))
    file = WeightsFile(weights)
    tensors: LayerTensors = {}
    for node in convolutions:
        if pairs[node].where.startswith(("neck", "head")):
            break
        tensors |= _take(file, node, pairs[node])
    return tensors


def _network(convolutions: Sequence[Node], cfg: Path) -> tuple[str, YoloVersion, Resize]:
    if len(convolutions) not in NETWORKS:
        known = ", ".join(
            f"{version.name} over {backbone} ({count})"
            for count, (backbone, version, _) in NETWORKS.items()
        )
        raise UserError(
            f"{cfg} has {len(convolutions)} convolutions; use one of the known networks: {known}"
        )
    return NETWORKS[len(convolutions)]


def _classes_of(outputs: Sequence[Output]) -> int:
    for output in outputs:
        section = output.section
        classes, anchors = section.whole("classes", "20", 1), len(section.numbers("mask"))
        if anchors != ANCHORS_PER_LEVEL:
            raise UserError(
                f"{section.where}: {anchors} anchors in mask, it must be {ANCHORS_PER_LEVEL}"
            )
        if output.node.channels != anchors * (5 + classes):
            raise UserError(
                f"{output.node.where}: filters is {output.node.channels}, {anchors} anchors of "
                f"{classes} classes need {anchors * (5 + classes)}, correct it"
            )
    return classes


def _pairs(
    convolutions: Sequence[Node],
    outputs: Sequence[Output],
    backbone: str,
    version: YoloVersion,
    num_classes: int,
) -> dict[Node, Node]:
    """Finds our layer for each convolution of a .cfg."""
    with keras.StatelessScope(initialize_variables=False):  # the graph needs no values
        ours = Detector(backbone, num_classes, version=version, input_size=(64, 64))
        pairs = pair_nodes(outputs, graph_of_detector(ours))
    for node in convolutions:
        if node not in pairs:
            raise UserError(f"{node.where}: the output of this layer is not used, correct the file")
    return pairs


def _take(file: WeightsFile, node: Node, ours: Node) -> LayerTensors:
    """Reads the tensors of a convolution, renamed and in our layout."""
    normalized = bool(node.settings["batch_normalize"])
    shapes = shapes_of(
        node.channels, node.inputs[0].channels, int(node.settings["size"]), normalized
    )
    tensors = file.take(shapes, f"[convolutional] in {node.where}")
    keys = keys_of(*ours.layers)
    tensors["weights"] = tensors["weights"].transpose(2, 3, 1, 0)
    return {keys[name]: (f"{name} of {node.where}", value) for name, value in tensors.items()}


def _decoded_as(outputs: Sequence[Output], version: YoloVersion) -> YoloVersion:
    sections = [output.section for output in outputs]
    for section in sections:
        if section.whole("new_coords", "0"):
            raise UserError(f"{section.where}: new_coords=1 is not supported")
    return dataclasses.replace(
        with_anchors(version, [_anchors_of(section) for section in sections]),
        scale_xy=tuple(section.number("scale_x_y", "1") for section in sections),
        match_iou=sections[0].number("iou_thresh", "1"),
        ignore_iou=sections[0].number("ignore_thresh", "0.5"),
    )


def _anchors_of(section: Section) -> np.ndarray:
    """Width and height of the anchors of a level: (3, 2)."""
    mask, numbers = section.whole_numbers("mask"), section.numbers("anchors")
    if min(numbers) <= 0:
        raise UserError(f"{section.where}: anchors must be greater than 0, correct them")
    if len(numbers) % 2 or not 0 <= min(mask) <= max(mask) < len(numbers) // 2:
        raise UserError(f"{section.where}: mask and anchors do not fit together, correct them")
    return np.reshape(numbers, (-1, 2))[mask]


def _input_size(net: Section) -> tuple[int, int]:
    height, width = net.whole("height", least=32), net.whole("width", least=32)
    if height % 32 or width % 32 or net.whole("channels", "3") != 3:
        raise UserError(
            f"{net.where}: width={width} and height={height} must be multiples of 32 and "
            "channels must be 3, correct them"
        )
    return height, width


def _resize_of(net: Section, default: Resize) -> Resize:
    if "letter_box" not in net.options:
        return default
    return "letterbox" if net.whole("letter_box") else "stretch"
