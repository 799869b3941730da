"""Trained detectors of efficientnet-yolo3-keras and mobilenet-yolov4-keras, from their .h5 files.

Their backbones name every layer; neck and head are numbered by Keras 2 as they were made, each kind
of layer by itself, in the order of the two files called nets/yolo.py.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from nets.anchors import DEFAULT_ANCHORS
from nets.backbones.efficientnet import STAGES, VARIANTS
from nets.conventions import KERAS
from nets.layers import make_divisible
from nets.versions import VERSIONS
from utils.errors import UserError
from utils.weights.foreign import ForeignDetector
from utils.weights.tensorfiles import LayerTensors, read_h5

# Pixels are divided by 255 and nothing else (preprocess_input in utils/utils.py).
CONVENTION = replace(KERAS, mean=(0.0,) * 3, std=(255.0,) * 3)
# hard_sigmoid was clip(0.2 x + 0.5) in Keras 2; their MobileNetV3 writes relu6(x + 3) / 6 itself.
GHOSTNET_CONVENTION = replace(CONVENTION, hard_sigmoid_slope=0.2)

NUMBERED = re.compile(r"(conv2d|depthwise_conv2d|batch_normalization)(?:_(\d+))?$")
# What their MobileNetV3 writes in a layer's name, and keras.applications since Keras 3.
MOBILENETV3_WORDS = (
    ("/BatchNorm", "_bn"),
    ("squeeze_excite/Conv", "squeeze_excite_conv"),
    ("/", "_"),
)

INPUT_SIZE = (416, 416)  # input_shape in their yolo.py


def read_detector(path: Path, origin: str) -> ForeignDetector:
    """Finds out which detector a file holds, and renames its tensors.

    Args:
        path: their `.h5`.
        origin: `yolo3-efficientnet` or `yolo4-mobilenet`.

    Raises:
        UserError: it is damaged, or not such a detector.
    """
    tensors = read_h5(path)
    if origin == "yolo3-efficientnet":
        version, order = VERSIONS["v3"], list(_fpn_order())
        backbone, width = _efficientnet_of(tensors), 1.0
    else:
        # Their v4 decodes without Darknet's stretch.
        version, order = replace(VERSIONS["v4"], scale_xy=(1.0, 1.0, 1.0)), list(_panet_order())
        backbone, width = _mobilenet_of(tensors)
    renamed = _rename(tensors, order, origin)
    name, logits = renamed["head_p3_logits/0"]
    num_classes, rest = divmod(logits.shape[-1], 3)
    if rest or num_classes < 6:
        raise UserError(
            f"{name} has {logits.shape[-1]} outputs, not three anchors of 5 and classes"
        )
    convention = GHOSTNET_CONVENTION if backbone == "ghostnet" else CONVENTION
    return ForeignDetector(
        backbone=backbone,
        width=width,
        convention=convention,
        yolo=version,
        num_classes=num_classes - 5,
        anchors=DEFAULT_ANCHORS[version.name],  # those of their model_data/yolo_anchors.txt
        input_size=INPUT_SIZE,
        resize="stretch",  # letterbox_image is off in their yolo.py
        tensors=renamed,
    )


def _rename(tensors: LayerTensors, order: list[tuple[str, str]], origin: str) -> LayerTensors:
    numbered: dict[str, dict[int, str]] = {}
    for layer in dict.fromkeys(key.rpartition("/")[0] for key in tensors):
        if found := NUMBERED.fullmatch(layer):
            numbered.setdefault(found[1], {})[int(found[2] or 0)] = layer
    names: dict[str, str] = {}
    for kind in ("conv2d", "depthwise_conv2d", "batch_normalization"):
        theirs = [layer for _, layer in sorted(numbered.get(kind, {}).items())]
        ours = [layer for made, layer in order if made == kind]
        if len(theirs) != len(ours):
            raise UserError(
                f"the file has {len(theirs)} layers called {kind}_N, {origin} has {len(ours)}; "
                "name the project that it was trained with by --from"
            )
        names.update(zip(theirs, ours, strict=True))
    renamed = {}
    for key, value in tensors.items():
        layer, _, index = key.rpartition("/")
        if layer not in names:
            for word, ours in MOBILENETV3_WORDS:
                layer = layer.replace(word, ours)
            layer = re.sub(r"^Conv(?=$|_bn$)", "conv", layer)
        renamed[f"{names.get(layer, layer)}/{index}"] = value
    return renamed


def _fpn_order() -> Iterator[tuple[str, str]]:
    for level in ("p5", "p4", "p3"):
        for number in range(1, 6):
            yield from _plain(f"neck_{level}_{number}")
        yield from _plain(f"head_{level}")
        yield "conv2d", f"head_{level}_logits"
        if level != "p3":
            yield from _plain(f"neck_{level}_lateral")


def _panet_order() -> Iterator[tuple[str, str]]:
    for number in range(1, 7):
        yield from (_separable if number in (2, 5) else _plain)(f"neck_spp_{number}")
    yield from _plain("neck_p5_lateral")
    yield from _plain("neck_feat2")
    yield from _five("neck_p4_top_down")
    yield from _plain("neck_p4_lateral")
    yield from _plain("neck_feat1")
    yield from _five("neck_p3")
    for level, following in (("p3", "p4"), ("p4", "p5"), ("p5", "")):
        yield from _separable(f"head_{level}")
        yield "conv2d", f"head_{level}_logits"
        if following:
            yield from _separable(f"neck_{level}_down")
            yield from _five(f"neck_{following}")


def _five(name: str) -> Iterator[tuple[str, str]]:
    for number in range(1, 6):
        yield from (_plain if number % 2 else _separable)(f"{name}_{number}")


def _plain(name: str) -> Iterator[tuple[str, str]]:
    yield "conv2d", f"{name}_conv"
    yield "batch_normalization", f"{name}_bn"


def _separable(name: str) -> Iterator[tuple[str, str]]:
    yield "depthwise_conv2d", f"{name}_depthwise"
    yield "batch_normalization", f"{name}_depthwise_bn"
    yield from _plain(f"{name}_pointwise")


def _efficientnet_of(tensors: LayerTensors) -> str:
    """Which of B0 to B7 it is, by the number of blocks and the width of the last."""
    last = [key for key in tensors if re.fullmatch(r"block7[a-z]_project_conv/0", key)]
    blocks = {key for key in tensors if re.fullmatch(r"block\d[a-z]_project_conv/0", key)}
    if last:
        found = len(blocks), tensors[last[0]][1].shape[-1]
        *_, (_, _, channels, _, _) = STAGES
        for name, (widening, deepening) in VARIANTS.items():
            depth = sum(math.ceil(repeats * deepening) for *_, repeats, _ in STAGES)
            if (depth, make_divisible(channels * widening)) == found:
                return name
    raise UserError("the file holds no EfficientNet, use --from yolo4-mobilenet if it should")


def _mobilenet_of(tensors: LayerTensors) -> tuple[str, float]:
    """Backbone and width, by the names and the width of the first block."""
    if "conv_pw_1/0" in tensors:
        return "mobilenetv1", tensors["conv_pw_1/0"][1].shape[-1] / 64
    if "block_1_expand/0" in tensors:
        return "mobilenetv2", _width_of(tensors, "Conv1/0", {16: 0.5, 24: 0.75, 32: 1.0})
    if "expanded_conv_1/expand/0" in tensors:
        widths = {32: 0.75, 40: 1.0}
        return "mobilenetv3_large", _width_of(tensors, "expanded_conv_3/project/0", widths)
    if "blocks.0.0.ghost1.primary_conv.0/0" in tensors:
        return "ghostnet", 1.0
    raise UserError(
        "the file holds no MobileNet and no GhostNet, use --from yolo3-efficientnet if it should"
    )


def _width_of(tensors: LayerTensors, key: str, widths: dict[int, float]) -> float:
    name, values = tensors.get(key, (key, np.zeros(0)))
    if values.shape[-1] not in widths:
        raise UserError(
            f"{name} has {values.shape[-1]} channels; of this backbone the widths "
            f"{', '.join(map(str, widths.values()))} can be read"
        )
    return widths[values.shape[-1]]
