"""Writes our detectors as files of Darknet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nets.conventions import DARKNET
from nets.detector import Detector
from nets.versions import ANCHORS_PER_LEVEL
from utils.config import Resize
from utils.errors import UserError
from utils.files import refuse_existing, written_whole
from utils.layer_tensors import weights_by_key
from utils.weights.darknet.cfg import Section, format_cfg
from utils.weights.darknet.detector_graph import graph_of_detector
from utils.weights.darknet.graph import Node
from utils.weights.darknet.weights_file import Tensors, keys_of, write_weights


def write_detector(
    detector: Detector, resize: Resize, classes: Sequence[str], weights: Path
) -> tuple[Path, Path]:
    """Writes a detector over a Darknet backbone in the files that Darknet and OpenCV 4 read.

    Args:
        detector: A detector with plain convolutions.
        resize: How images are fitted into its input.
        classes: Names of the classes, by label.
        weights: The `.weights` to write.

    Returns:
        The `.cfg` and the `.names` that were written beside it.

    Raises:
        UserError: Darknet cannot compute the detector, or one of the files exists; nothing is
            written.
    """
    cfg, names = weights.with_suffix(".cfg"), weights.with_suffix(".names")
    refuse_existing(weights)
    convention = detector.convention
    if (convention.mean, convention.std) != (DARKNET.mean, DARKNET.std):
        raise UserError(
            "the detector scales pixels differently from Darknet and cannot be written, train over "
            "one of Darknet's backbones"
        )
    writer = _CfgWriter(detector, resize)
    for level, output in reversed(list(enumerate(graph_of_detector(detector)))):
        writer.write_level(level, output.node)
    texts = {cfg: format_cfg(writer.sections), names: "\n".join(classes) + "\n"}
    # Those with the same text were left by a kill before the weights, which come last.
    refuse_existing(*(path for path, text in texts.items() if not _has_text(path, text)))
    values = {key: weight.numpy() for key, weight in weights_by_key(detector).items()}
    # Darknet's epsilon is fixed: the difference to ours is added to the variances.
    more = convention.bn_epsilon - DARKNET.bn_epsilon

    weights.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(*texts, weights) as (*text_parts, weights_part):
        tensors = (_tensors_of(node, values, more) for node in writer.convolutions)
        write_weights(weights_part, tensors)
        for part, text in zip(text_parts, texts.values(), strict=True):
            part.write_text(text, encoding="utf-8")
    return cfg, names


def _has_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text


class _CfgWriter:
    """Puts the layers of a graph into a sequence, each behind its inputs.

    Attributes:
        sections: The sections written so far.
        convolutions: The convolutions among them, in the same order.
    """

    def __init__(self, detector: Detector, resize: Resize) -> None:
        """Starts with the section [net].

        Args:
            detector: The detector.
            resize: How images are fitted into its input.
        """
        height, width = detector.input_size
        net = {"batch": 1, "width": width, "height": height, "channels": 3}
        net["letter_box"] = int(resize == "letterbox")
        self.sections = [Section("net", _text_of(net))]
        self.convolutions: list[Node] = []
        self._detector = detector
        self._indices: dict[Node, int] = {}

    def write_level(self, level: int, node: Node) -> None:
        """Writes a level: the layers that its logits depend on, then how they are decoded.

        Args:
            level: Index of the level, 0 for the smallest stride.
            node: The convolution that returns the logits.
        """
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
        if node.kind == "image" or node in self._indices:
            return
        for source in node.inputs:
            self._write(source)
        options = dict(node.settings)
        if node.kind in ("route", "split"):
            layers = {"layers": ",".join(str(self._indices[source]) for source in node.inputs)}
            self._append(node, "route", layers | options)
            return
        # The input of a layer is the section before it, or else a route that repeats its input.
        before = node.inputs[0]
        if before in self._indices and self._indices[before] != self._last:
            self.sections.append(Section("route", {"layers": str(self._indices[before])}))
        if node.kind == "shortcut":
            options |= {"from": self._indices[node.inputs[1]], "activation": "linear"}
        if node.kind == "convolutional":
            options["pad"] = 1
            self.convolutions.append(node)
        self._append(node, node.kind, options)

    @property
    def _last(self) -> int:
        return len(self.sections) - 2  # [net] is not counted as a layer

    def _append(self, node: Node, kind: str, options: dict[str, int | str]) -> None:
        self.sections.append(Section(kind, _text_of(options)))
        self._indices[node] = self._last


def _text_of(options: dict[str, int | float | str]) -> dict[str, str]:
    return {name: str(value) for name, value in options.items()}


def _tensors_of(node: Node, values: dict[str, np.ndarray], more: float) -> Tensors:
    """The tensors of a convolution, named and arranged as in the file.

    Args:
        node: The convolution.
        values: All weights of the detector, by key.
        more: Added to the variances.
    """
    tensors = {name: values[key] for name, key in keys_of(*node.layers).items()}
    tensors["weights"] = tensors["weights"].transpose(3, 2, 0, 1)
    if "variances" in tensors:
        tensors["variances"] = tensors["variances"] + more
    return tensors
