"""Darknet's own backbones: those of yolov3.cfg, yolov4.cfg and the two tiny files.

Features are the last maps before each halving of the resolution. In cspdarknet_tiny they are the
convolved halves of a block before both halves are joined, as in yolov4-tiny.cfg.
"""

import keras
from keras import KerasTensor

from nets.backbones.registry import Features, register
from nets.conventions import DARKNET
from nets.layers import Activation, Layers, leaky_relu

CONVENTIONS = {"darknet": DARKNET}

# Redmon and Farhadi, "YOLOv3", arXiv 1804.02767, Table 1. Darknet's necks are half as wide.
STAGES = [
    # channels, residual blocks
    (64, 1),
    (128, 2),
    (256, 8),
    (512, 8),
    (1024, 4),
]
NECK_CHANNELS = (128, 256, 512)
TINY_NECK_CHANNELS = (64, 128, 256)


def _top(x: KerasTensor, *, width: float, layers: Layers, classes: int) -> KerasTensor:
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(classes, name="predictions")(x)


@register("darknet53", conventions=CONVENTIONS, neck_channels=NECK_CHANNELS, top=_top)
def darknet53(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Residual blocks of 1x1 and 3x3 convolutions: 256, 512 and 1024 channels."""
    x = layers.conv(x, int(32 * width), 3, activation=leaky_relu, name="stem")
    ends = []
    for stage, (channels, blocks) in enumerate(STAGES, start=1):
        channels = int(channels * width)
        x = layers.conv(x, channels, 3, 2, leaky_relu, name=f"stage{stage}_down")
        for block in range(1, blocks + 1):
            x = _residual(x, channels // 2, leaky_relu, f"stage{stage}_block{block}", layers)
        ends.append(x)
    return tuple(ends[-3:])


@register("cspdarknet53", conventions=CONVENTIONS, neck_channels=NECK_CHANNELS, top=_top)
def cspdarknet53(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Darknet-53 in which half of the channels bypass each stage (Bochkovskiy et al. 2020)."""
    x = layers.conv(x, int(32 * width), 3, activation="mish", name="stem")
    ends = []
    for stage, (channels, blocks) in enumerate(STAGES, start=1):
        channels = int(channels * width)
        # The first stage is too narrow to be split; its blocks are narrower instead.
        part, inner = (channels, channels // 2) if stage == 1 else (channels // 2,) * 2
        name = f"stage{stage}"
        x = layers.conv(x, channels, 3, 2, "mish", name=f"{name}_down")
        beside = layers.conv(x, part, activation="mish", name=f"{name}_beside")
        x = layers.conv(x, part, activation="mish", name=f"{name}_through")
        for block in range(1, blocks + 1):
            x = _residual(x, inner, "mish", f"{name}_block{block}", layers)
        x = layers.conv(x, part, activation="mish", name=f"{name}_end")
        x = keras.layers.Concatenate(name=f"{name}_concat")([x, beside])
        x = layers.conv(x, channels, activation="mish", name=f"{name}_join")
        ends.append(x)
    return tuple(ends[-3:])


@register("darknet_tiny", conventions=CONVENTIONS, neck_channels=TINY_NECK_CHANNELS)
def darknet_tiny(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Seven convolutions with max pooling in between: 128, 256 and 1024 channels."""
    ends = []
    for index, channels in enumerate((16, 32, 64, 128, 256, 512), start=1):
        x = layers.conv(x, int(channels * width), 3, activation=leaky_relu, name=f"conv{index}")
        ends.append(x)
        strides = 2 if index < 6 else 1
        x = keras.layers.MaxPooling2D(2, strides, "same", name=f"pool{index}")(x)
    x = layers.conv(x, int(1024 * width), 3, activation=leaky_relu, name="conv7")
    *_, feat1, feat2, _ = ends
    return feat1, feat2, x


@register("cspdarknet_tiny", conventions=CONVENTIONS, neck_channels=TINY_NECK_CHANNELS)
def cspdarknet_tiny(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Three blocks that convolve the second half of their channels: 128, 256 and 512 channels."""
    x = layers.conv(x, int(32 * width), 3, 2, leaky_relu, name="stem1")
    x = layers.conv(x, int(64 * width), 3, 2, leaky_relu, name="stem2")
    ends = []
    for index, channels in enumerate((64, 128, 256), start=1):
        channels, name = int(channels * width), f"block{index}"
        whole = layers.conv(x, channels, 3, activation=leaky_relu, name=f"{name}_1")
        _, x = keras.ops.split(whole, 2, axis=-1)
        first = layers.conv(x, channels // 2, 3, activation=leaky_relu, name=f"{name}_2")
        x = layers.conv(first, channels // 2, 3, activation=leaky_relu, name=f"{name}_3")
        x = keras.layers.Concatenate(name=f"{name}_inner_concat")([x, first])
        x = layers.conv(x, channels, activation=leaky_relu, name=f"{name}_4")
        ends.append(x)
        x = keras.layers.Concatenate(name=f"{name}_concat")([whole, x])
        x = keras.layers.MaxPooling2D(2, 2, name=f"{name}_pool")(x)
    x = layers.conv(x, int(512 * width), 3, activation=leaky_relu, name="conv")
    return ends[1], ends[2], x


def _residual(
    inputs: KerasTensor, inner: int, activation: Activation, name: str, layers: Layers
) -> KerasTensor:
    x = layers.conv(inputs, inner, activation=activation, name=f"{name}_1")
    x = layers.conv(x, inputs.shape[-1], 3, activation=activation, name=f"{name}_2")
    return keras.layers.Add(name=f"{name}_add")([x, inputs])
