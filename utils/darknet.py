"""Detectors of Darknet: from a .cfg and .weights to our names, and back."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from nets.backbones.darknet import DARKNET
from nets.backbones.transfer import weights_by_key
from nets.detector import Detector
from nets.versions import ANCHORS_PER_LEVEL, VERSIONS, YoloVersion, with_conv
from utils.darknet_cfg import Section, format_cfg, read_cfg
from utils.darknet_graph import Node, Output, graph_of_cfg, graph_of_detector, match
from utils.darknet_weights import Tensors, WeightsFile, shapes_of, write_weights
from utils.errors import UserError
from utils.foreign import ForeignDetector
from utils.outputs import part_of
from utils.tensorfiles import LayerTensors

# The networks of Darknet's cfg/ by their number of convolutions, and how the program that trained
# them fits an image: pjreddie/darknet keeps its aspect, AlexeyAB/darknet does not.
NETWORKS = {
    75: ("darknet53", VERSIONS["v3"], "letterbox"),
    76: ("darknet53", VERSIONS["v3-spp"], "letterbox"),
    13: ("darknet_tiny", VERSIONS["v3-tiny"], "letterbox"),
    110: ("cspdarknet53", with_conv(VERSIONS["v4"], "plain"), "stretch"),
    21: ("cspdarknet_tiny", VERSIONS["v4-tiny"], "stretch"),
}

# In the order of Keras' weights.
NORMALIZATION = ("scales", "biases", "means", "variances")


def read_detector(weights: Path, cfg: Path) -> ForeignDetector:
    """Reads a detector.

    Args:
        weights: its `.weights`.
        cfg: its `.cfg`.

    Raises:
        UserError: it is none of `NETWORKS`, or the two files do not belong together.
    """
    sections = read_cfg(cfg)
    convolutions, outputs = graph_of_cfg(sections)
    backbone, version, resize = _network(convolutions, cfg)
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
        anchors=np.array([_anchors_of(output.section) for output in outputs], np.float32),
        input_size=_input_size(sections[0]),
        resize=_resize_of(sections[0], resize),
        tensors=tensors,
    )


def read_backbone(weights: Path, cfg: Path, backbone: str) -> LayerTensors:
    """Reads the backbone of a detector, whose file may end anywhere behind it.

    Such files, like darknet53.conv.74, are what Darknet's users train from.

    Args:
        weights: a `.weights`, whole or the beginning of one.
        cfg: the `.cfg` of the whole.
        backbone: name of the backbone that is wanted.

    Raises:
        UserError: the network has another backbone, or the file ends within it.
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


def write_detector(
    detector: Detector, resize: str, classes: Sequence[str], weights: Path
) -> tuple[Path, Path]:
    """Writes a detector over a Darknet backbone so that Darknet and OpenCV 4 read it.

    Args:
        detector: with plain convolutions.
        resize: how it is given images, `letterbox` or `stretch`.
        classes: names, by label.
        weights: the `.weights` to write.

    Returns:
        The `.cfg` and the `.names` that were written beside it.

    Raises:
        UserError: Darknet cannot compute what the detector does, or one of the files is there
            already; nothing is written.
    """
    cfg, names = weights.with_suffix(".cfg"), weights.with_suffix(".names")
    for path in (weights, cfg, names):
        if path.exists():
            raise UserError(f"{path} is there already, name another file or move it away")
    convention = detector.convention
    if (convention.mean, convention.std) != (DARKNET.mean, DARKNET.std):
        raise UserError(
            "the detector scales pixels otherwise than Darknet, it cannot be written: train over "
            "one of Darknet's backbones"
        )
    writer = _CfgWriter(detector, resize)
    for level, output in reversed(list(enumerate(graph_of_detector(detector)))):
        writer.write_level(level, output.node)
    values = {key: weight.numpy() for key, weight in weights_by_key(detector).items()}
    # What Darknet adds to the variances is fixed: the rest of ours goes into them.
    more = convention.bn_epsilon - DARKNET.bn_epsilon

    weights.parent.mkdir(parents=True, exist_ok=True)
    parts = {path: part_of(path) for path in (weights, cfg, names)}
    tensors = (_tensors_of(node, values, more) for node in writer.convolutions)
    try:
        write_weights(parts[weights], tensors)
        parts[cfg].write_text(format_cfg(writer.sections), encoding="utf-8")
        parts[names].write_text("\n".join(classes) + "\n", encoding="utf-8")
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return cfg, names


def _network(convolutions: Sequence[Node], cfg: Path) -> tuple[str, YoloVersion, str]:
    if len(convolutions) not in NETWORKS:
        known = ", ".join(
            f"{version.name} over {backbone} ({count})"
            for count, (backbone, version, _) in NETWORKS.items()
        )
        raise UserError(
            f"{cfg} has {len(convolutions)} convolutions, which is none of the networks known: "
            + known
        )
    return NETWORKS[len(convolutions)]


def _classes_of(outputs: Sequence[Output]) -> int:
    for output in outputs:
        section = output.section
        classes, anchors = section.whole("classes", "20", 1), len(section.numbers("mask"))
        if anchors != ANCHORS_PER_LEVEL:
            raise UserError(f"{section.where}: {anchors} anchors in mask, three are known here")
        if output.node.channels != anchors * (5 + classes):
            raise UserError(
                f"{output.node.where}: filters is {output.node.channels}, three anchors of "
                f"{classes} classes take {anchors * (5 + classes)}"
            )
    return classes


def _pairs(
    convolutions: Sequence[Node],
    outputs: Sequence[Output],
    backbone: str,
    version: YoloVersion,
    num_classes: int,
) -> dict[Node, Node]:
    """Our layer for each of their convolutions."""
    with keras.StatelessScope(initialize_variables=False):  # the picture needs no values
        ours = Detector(backbone, num_classes, version=version, input_size=(64, 64))
        pairs = match(outputs, graph_of_detector(ours))
    for node in convolutions:
        if node not in pairs:
            raise UserError(f"{node.where}: nothing reads this convolution, correct the file")
    return pairs


def _take(file: WeightsFile, node: Node, ours: Node) -> LayerTensors:
    """The tensors of a convolution in our names and layout."""
    normalized = bool(node.settings["batch_normalize"])
    shapes = shapes_of(
        node.channels, node.inputs[0].channels, int(node.settings["size"]), normalized
    )
    tensors = file.take(shapes, f"[convolutional] in {node.where}")
    convolution, *norm = ours.layers
    keys = {"weights": f"{convolution}/0", "biases": f"{convolution}/1"}
    if norm:
        keys |= {name: f"{norm[0]}/{i}" for i, name in enumerate(NORMALIZATION)}
    tensors["weights"] = tensors["weights"].transpose(2, 3, 1, 0)
    return {keys[name]: (f"{name} of {node.where}", value) for name, value in tensors.items()}


def _decoded_as(outputs: Sequence[Output], version: YoloVersion) -> YoloVersion:
    sections = [output.section for output in outputs]
    for section in sections:
        if section.whole("new_coords", "0"):
            raise UserError(f"{section.where}: boxes by new_coords=1 are not known here")
    return dataclasses.replace(
        version,
        scale_xy=tuple(section.number("scale_x_y", "1") for section in sections),
        match_iou=sections[0].number("iou_thresh", "1"),
        ignore_iou=sections[0].number("ignore_thresh", "0.5"),
    )


def _anchors_of(section: Section) -> np.ndarray:
    """Width and height of a level's three: (3, 2)."""
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
            "channels 3, correct them"
        )
    return height, width


def _resize_of(net: Section, usual: str) -> str:
    if "letter_box" not in net.options:
        return usual
    return "letterbox" if net.whole("letter_box") else "stretch"


class _CfgWriter:
    """Puts layers into a row, each after those that it reads.

    Attributes:
        sections: of the .cfg so far.
        convolutions: in the order of their sections.
    """

    def __init__(self, detector: Detector, resize: str):
        height, width = detector.input_size
        net = {"batch": 1, "width": width, "height": height, "channels": 3}
        net["letter_box"] = int(resize == "letterbox")
        self.sections = [Section("net", _text_of(net))]
        self.convolutions: list[Node] = []
        self._detector = detector
        self._places: dict[Node, int] = {}

    def write_level(self, level: int, node: Node) -> None:
        """Writes what leads to the logits of a level, and how they are read."""
        self._write(node)
        version, anchors = self._detector.version, self._detector.anchors.reshape(-1, 2)
        mask = range(level * ANCHORS_PER_LEVEL, (level + 1) * ANCHORS_PER_LEVEL)
        options = {
            "mask": ",".join(map(str, mask)),
            "anchors": ", ".join(f"{width:.9g},{height:.9g}" for width, height in anchors),
            "classes": self._detector.num_classes,
            "num": len(anchors),
            "scale_x_y": version.scale_xy[level],
            "iou_thresh": version.match_iou,
            "ignore_thresh": version.ignore_iou,
        }
        self.sections.append(Section("yolo", _text_of(options)))

    def _write(self, node: Node) -> None:
        if node.kind == "image" or node in self._places:
            return
        for source in node.inputs:
            self._write(source)
        options = dict(node.settings)
        if node.kind in ("route", "split"):
            layers = {"layers": ",".join(str(self._places[source]) for source in node.inputs)}
            self._place(node, "route", layers | options)
            return
        before = node.inputs[0]
        if before in self._places and self._places[before] != self._last:
            self.sections.append(Section("route", {"layers": str(self._places[before])}))
        if node.kind == "shortcut":
            options |= {"from": self._places[node.inputs[1]], "activation": "linear"}
        if node.kind == "convolutional":
            options["pad"] = 1
            self.convolutions.append(node)
        self._place(node, node.kind, options)

    @property
    def _last(self) -> int:
        return len(self.sections) - 2  # layers are counted behind [net]

    def _place(self, node: Node, kind: str, options: dict[str, int | str]) -> None:
        self.sections.append(Section(kind, _text_of(options)))
        self._places[node] = self._last


def _text_of(options: dict[str, int | float | str]) -> dict[str, str]:
    return {name: str(value) for name, value in options.items()}


def _tensors_of(node: Node, values: dict[str, np.ndarray], more: float) -> Tensors:
    """What the file holds of a convolution, in its order."""
    convolution, *norm = node.layers
    if norm:
        held = {name: values[f"{norm[0]}/{i}"] for i, name in enumerate(NORMALIZATION)}
        held["variances"] = held["variances"] + more
    else:
        held = {"biases": values[f"{convolution}/1"]}
    held["weights"] = values[f"{convolution}/0"].transpose(3, 2, 0, 1)
    shapes = shapes_of(
        node.channels, node.inputs[0].channels, int(node.settings["size"]), bool(norm)
    )
    return {name: held[name] for name in shapes}
