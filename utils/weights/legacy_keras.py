"""Reads trained detectors of efficientnet-yolo3-keras and mobilenet-yolov4-keras from .h5 files.

Their backbones name every layer. In neck and head, Keras 2 numbered the layers of each kind in the
order of creation, which is the order of the calls in their nets/yolo.py.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from nets.backbones.efficientnet import STAGES, VARIANTS
from nets.conventions import KERAS
from nets.layers import make_divisible
from nets.versions import VERSIONS
from utils.errors import UserError
from utils.layer_tensors import LayerTensors
from utils.weights.foreign import ForeignDetector
from utils.weights.origins import Predecessor
from utils.weights.tensorfiles import read_h5

# They divide pixels by 255 (preprocess_input in their utils/utils.py). hard_sigmoid, which only
# their GhostNet uses, was clip(0.2 x + 0.5) in Keras 2.
CONVENTION = replace(KERAS, mean=(0.0,) * 3, std=(255.0,) * 3, hard_sigmoid_slope=0.2)

NUMBERED = re.compile(r"(conv2d|depthwise_conv2d|batch_normalization)(?:_(\d+))?$")
# Parts of layer names of their MobileNetV3, and of the same names in Keras 3's keras.applications.
MOBILENETV3_WORDS = (
    ("/BatchNorm", "_bn"),
    ("squeeze_excite/Conv", "squeeze_excite_conv"),
    ("/", "_"),
)

INPUT_SIZE = (416, 416)  # input_shape in their yolo.py


def read_legacy_keras(path: Path, origin: Predecessor) -> ForeignDetector:
    """Identifies the detector in a file and renames its tensors.

    The anchors are the published ones of the version, as in their model_data/yolo_anchors.txt.

    Args:
        path: The `.h5`.
        origin: Project that the detector was trained with.

    Raises:
        UserError: The file is damaged, or does not hold such a detector.
    """
    tensors = read_h5(path)
    if origin == "yolo3-efficientnet":
        version, order = VERSIONS["v3"], list(_fpn_order())
        backbone, width = _efficientnet_of(tensors, path), 1.0
    else:
        # Their v4 does not use Darknet's scale_x_y.
        version, order = replace(VERSIONS["v4"], scale_xy=(1.0, 1.0, 1.0)), list(_panet_order())
        backbone, width = _mobilenet_of(tensors, path)
    renamed = _rename(tensors, order, origin, path)
    name, logits = renamed["head_p3_logits/0"]
    num_classes, rest = divmod(logits.shape[-1], 3)
    if rest or num_classes < 6:
        raise UserError(
            f"{path}: {name} has {logits.shape[-1]} outputs instead of 3 * (5 + classes), "
            "use a file with three anchors per level"
        )
    return ForeignDetector(
        backbone=backbone,
        width=width,
        convention=CONVENTION,
        yolo=version,
        num_classes=num_classes - 5,
        input_size=INPUT_SIZE,
        resize="stretch",  # letterbox_image is False in their yolo.py
        tensors=renamed,
        anchors_assumed=True,
    )


def is_predecessors(tensors: LayerTensors) -> bool:
    """Whether tensors are those of a detector of a predecessor, or of its neck and head.

    Only their three output layers are numbered convolutions with a bias.
    """
    biased = [
        key
        for key in tensors
        if key.endswith("/1") and NUMBERED.fullmatch(key[:-2]) and key.startswith("conv2d")
    ]
    return len(biased) == 3


def _rename(
    tensors: LayerTensors, order: list[tuple[str, str]], origin: Predecessor, path: Path
) -> LayerTensors:
    numbered: dict[str, dict[int, str]] = {}
    for layer in dict.fromkeys(key.rpartition("/")[0] for key in tensors):
        if found := NUMBERED.fullmatch(layer):
            numbered.setdefault(found[1], {})[int(found[2] or 0)] = layer
    names: dict[str, str] = {}
    for kind in ("conv2d", "depthwise_conv2d", "batch_normalization"):
        theirs = [layer for _, layer in sorted(numbered.get(kind, {}).items())]
        ours = [layer for created, layer in order if created == kind]
        if len(theirs) != len(ours):
            raise UserError(
                f"{path} has {len(theirs)} layers called {kind}_N, {origin} has {len(ours)}; "
                "name the project that trained it with --from"
            )
        names.update(zip(theirs, ours, strict=True))
    renamed = {}
    for key, value in tensors.items():
        layer, _, index = key.rpartition("/")
        if layer not in names:
            for old, new in MOBILENETV3_WORDS:
                layer = layer.replace(old, new)
            layer = re.sub(r"^Conv(?=$|_bn$)", "conv", layer)
        renamed[f"{names.get(layer, layer)}/{index}"] = value
    return renamed


def _fpn_order() -> Iterator[tuple[str, str]]:
    """Kind and our name of each layer, in the order of creation in their v3."""
    for level in ("p5", "p4", "p3"):
        for number in range(1, 6):
            yield from _plain(f"neck_{level}_{number}")
        yield from _plain(f"head_{level}")
        yield "conv2d", f"head_{level}_logits"
        if level != "p3":
            yield from _plain(f"neck_{level}_lateral")


def _panet_order() -> Iterator[tuple[str, str]]:
    """Kind and our name of each layer, in the order of creation in their v4."""
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


def _efficientnet_of(tensors: LayerTensors, path: Path) -> str:
    """Identifies B0 to B7 by the number of blocks and the width of the last one."""
    last = [key for key in tensors if re.fullmatch(r"block7[a-z]_project_conv/0", key)]
    blocks = {key for key in tensors if re.fullmatch(r"block\d[a-z]_project_conv/0", key)}
    if last:
        found = len(blocks), tensors[last[0]][1].shape[-1]
        for name, variant in VARIANTS.items():
            depth = sum(map(variant.repeats, STAGES))
            if (depth, make_divisible(STAGES[-1].channels * variant.widening)) == found:
                return name
    raise UserError(
        f"{path} holds no EfficientNet, use --from yolo4-mobilenet for a MobileNet or GhostNet"
    )


def _mobilenet_of(tensors: LayerTensors, path: Path) -> tuple[str, float]:
    """Identifies backbone and width by the names of layers and the width of the first block."""
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
        f"{path} holds no MobileNet or GhostNet, use --from yolo3-efficientnet for an EfficientNet"
    )


def _width_of(tensors: LayerTensors, key: str, widths: dict[int, float]) -> float:
    name, values = tensors.get(key, (key, np.zeros(0)))
    if values.shape[-1] not in widths:
        raise UserError(
            f"{name} has {values.shape[-1]} channels, which is no known width of this backbone; "
            f"use a file of width {', '.join(map(str, widths.values()))}"
        )
    return widths[values.shape[-1]]
