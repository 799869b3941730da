"""MobileNet V1, V2 and V3, with layers named as in keras.applications.

Features are the last maps before each halving of the resolution: conv_pw_5, 11 and 13 of V1;
block_5_add, block_12_add and block_16_project_BN of V2; the ends of blocks 5, 11 and 14 of V3
Large and of blocks 2, 7 and 10 of V3 Small.
"""

from dataclasses import replace
from functools import partial

import keras
from keras import KerasTensor

from nets.backbones.registry import Features, register
from nets.conventions import KERAS, SYMMETRIC, TORCH
from nets.layers import Layers, make_divisible, squeeze_excite
from nets.pretrained import KerasApplication, LayerNames

# timm's recipe of V1 scales pixels to -1..1. torchvision/models/mobilenetv3.py normalizes with
# Keras' epsilon; all other models of timm and torchvision normalize with torch's.
V1_CONVENTIONS = {"keras": KERAS, "timm": replace(TORCH, **SYMMETRIC)}
V2_CONVENTIONS = {"keras": KERAS, "timm": TORCH, "torchvision": TORCH}
V3_CONVENTIONS = {"keras": KERAS, "timm": TORCH, "torchvision": replace(TORCH, bn_epsilon=1e-3)}

V1_NAMES = LayerNames(
    stem=("conv1", "conv1_bn"),
    block="{number}",
    depthwise=("conv_dw_{}", "conv_dw_{}_bn"),
    project=("conv_pw_{}", "conv_pw_{}_bn"),
    top=("conv_preds",),
)
V2_NAMES = LayerNames(
    stem=("Conv1", "bn_Conv1"),
    block="block_{index}",
    first="expanded_conv",
    expand=("{}_expand", "{}_expand_BN"),
    depthwise=("{}_depthwise", "{}_depthwise_BN"),
    project=("{}_project", "{}_project_BN"),
    top=("Conv_1", "Conv_1_bn", "predictions"),
)
V3_NAMES = LayerNames(
    stem=("conv", "conv_bn"),
    block="expanded_conv_{index}",
    first="expanded_conv",
    expand=("{}_expand", "{}_expand_bn"),
    depthwise=("{}_depthwise", "{}_depthwise_bn"),
    project=("{}_project", "{}_project_bn"),
    squeeze=("{}_squeeze_excite_conv", "{}_squeeze_excite_conv_1"),
    top=("conv_1", "conv_1_bn", "conv_2", "logits"),
)

# Howard et al., "MobileNets", arXiv 1704.04861, Table 1.
V1_BLOCKS = [
    # channels, strides
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
]

# Sandler et al., "MobileNetV2", arXiv 1801.04381, Table 2: t, c, n, s.
V2_BLOCKS = [
    # expansion, channels, repeats, strides of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]

# Howard et al., "Searching for MobileNetV3", arXiv 1905.02244, Tables 1 and 2. The expansion is a
# ratio, as in keras.applications, because it determines how other widths are rounded.
V3_LARGE_BLOCKS = [
    # kernel size, expansion, channels, squeeze and excitation, activation, strides
    (3, 1, 16, False, "relu", 1),
    (3, 4, 24, False, "relu", 2),
    (3, 3, 24, False, "relu", 1),
    (5, 3, 40, True, "relu", 2),
    (5, 3, 40, True, "relu", 1),
    (5, 3, 40, True, "relu", 1),
    (3, 6, 80, False, "hard_swish", 2),
    (3, 2.5, 80, False, "hard_swish", 1),
    (3, 2.3, 80, False, "hard_swish", 1),
    (3, 2.3, 80, False, "hard_swish", 1),
    (3, 6, 112, True, "hard_swish", 1),
    (3, 6, 112, True, "hard_swish", 1),
    (5, 6, 160, True, "hard_swish", 2),
    (5, 6, 160, True, "hard_swish", 1),
    (5, 6, 160, True, "hard_swish", 1),
]
V3_SMALL_BLOCKS = [
    (3, 1, 16, True, "relu", 2),
    (3, 72 / 16, 24, False, "relu", 2),
    (3, 88 / 24, 24, False, "relu", 1),
    (5, 4, 40, True, "hard_swish", 2),
    (5, 6, 40, True, "hard_swish", 1),
    (5, 6, 40, True, "hard_swish", 1),
    (5, 3, 48, True, "hard_swish", 1),
    (5, 3, 48, True, "hard_swish", 1),
    (5, 6, 96, True, "hard_swish", 2),
    (5, 6, 96, True, "hard_swish", 1),
    (5, 6, 96, True, "hard_swish", 1),
]


def _v1_top(x: KerasTensor, *, width: float, layers: Layers, classes: int) -> KerasTensor:
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    return keras.layers.Flatten()(keras.layers.Conv2D(classes, 1, name="conv_preds")(x))


@register(
    "mobilenetv1",
    widths=(0.25, 0.5, 0.75, 1.0),
    conventions=V1_CONVENTIONS,
    top=_v1_top,
    pretrained=KerasApplication("MobileNet"),
    layer_names=V1_NAMES,
)
def mobilenetv1(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Depthwise-separable convolutions: 256, 512 and 1024 channels at width 1."""
    x = layers.conv(x, int(32 * width), 3, 2, "relu6", name="conv1")
    ends = []
    for index, (channels, strides) in enumerate(V1_BLOCKS, start=1):
        if strides == 2:
            ends.append(x)
        x = layers.depthwise(x, 3, strides, "relu6", name=f"conv_dw_{index}")
        x = layers.conv(x, int(channels * width), activation="relu6", name=f"conv_pw_{index}")
    *_, feat1, feat2 = ends
    return feat1, feat2, x


def _v2_top(x: KerasTensor, *, width: float, layers: Layers, classes: int) -> KerasTensor:
    # The last convolution grows with the width but never shrinks (section 5 of the paper).
    x = layers.conv(x, make_divisible(1280 * max(1.0, width)), activation="relu6", name="Conv_1")
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(classes, name="predictions")(x)


@register(
    "mobilenetv2",
    widths=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    conventions=V2_CONVENTIONS,
    top=_v2_top,
    pretrained=KerasApplication("MobileNetV2"),
    layer_names=V2_NAMES,
)
def mobilenetv2(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Inverted residuals with linear bottlenecks: 32, 96 and 320 channels at width 1."""
    x = layers.conv(x, make_divisible(32 * width), 3, 2, "relu6", name=("Conv1", "bn_Conv1"))
    ends, index = [], 0
    for expansion, channels, repeats, stride in V2_BLOCKS:
        filters = make_divisible(channels * width)
        for strides in [stride] + [1] * (repeats - 1):
            if strides == 2:
                ends.append(x)
            x = _v2_block(x, filters, strides, expansion, index, layers)
            index += 1
    *_, feat1, feat2 = ends
    return feat1, feat2, x


def _v2_block(
    inputs: KerasTensor, filters: int, strides: int, expansion: int, index: int, layers: Layers
) -> KerasTensor:
    name = f"block_{index}" if index else "expanded_conv"
    x = inputs
    if expansion != 1:
        x = layers.conv(
            x,
            expansion * inputs.shape[-1],
            activation="relu6",
            name=(f"{name}_expand", f"{name}_expand_BN"),
        )
    x = layers.depthwise(x, 3, strides, "relu6", name=(f"{name}_depthwise", f"{name}_depthwise_BN"))
    x = layers.conv(x, filters, name=(f"{name}_project", f"{name}_project_BN"))
    if strides == 1 and inputs.shape[-1] == filters:
        x = keras.layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _v3_top(
    x: KerasTensor, *, width: float, layers: Layers, classes: int, features: int
) -> KerasTensor:
    x = layers.conv(x, make_divisible(6 * x.shape[-1]), activation="hard_swish", name="conv_1")
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Conv2D(features, 1, activation="hard_swish", name="conv_2")(x)
    return keras.layers.Flatten()(keras.layers.Conv2D(classes, 1, name="logits")(x))


@register(
    "mobilenetv3_large",
    widths=(0.75, 1.0),
    conventions=V3_CONVENTIONS,
    top=partial(_v3_top, features=1280),
    pretrained=KerasApplication("MobileNetV3Large"),
    layer_names=V3_NAMES,
    aliases=("mobilenetv3",),
)
def mobilenetv3_large(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Inverted residuals found by architecture search: 40, 112 and 160 channels at width 1."""
    return _mobilenetv3(x, V3_LARGE_BLOCKS, width, layers)


@register(
    "mobilenetv3_small",
    widths=(0.75, 1.0),
    conventions=V3_CONVENTIONS,
    top=partial(_v3_top, features=1024),
    pretrained=KerasApplication("MobileNetV3Small"),
    layer_names=V3_NAMES,
)
def mobilenetv3_small(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """The smaller network of the same search: 24, 48 and 96 channels at width 1."""
    return _mobilenetv3(x, V3_SMALL_BLOCKS, width, layers)


def _mobilenetv3(x: KerasTensor, blocks: list, width: float, layers: Layers) -> Features:
    x = layers.conv(x, 16, 3, 2, "hard_swish", name="conv")
    ends = []
    for index, (kernel_size, expansion, channels, excited, activation, strides) in enumerate(
        blocks
    ):
        if strides == 2:
            ends.append(x)
        name = f"expanded_conv_{index}" if index else "expanded_conv"
        inputs = x
        hidden = make_divisible(expansion * inputs.shape[-1])
        filters = make_divisible(channels * width)
        if expansion != 1:
            x = layers.conv(x, hidden, activation=activation, name=f"{name}_expand")
        x = layers.depthwise(x, kernel_size, strides, activation, name=f"{name}_depthwise")
        if excited:
            se = f"{name}_squeeze_excite_conv"
            squeezed = make_divisible(hidden / 4)
            x = squeeze_excite(x, squeezed, "relu", "hard_sigmoid", names=(se, f"{se}_1"))
        x = layers.conv(x, filters, name=f"{name}_project")
        if strides == 1 and inputs.shape[-1] == filters:
            x = keras.layers.Add(name=f"{name}_add")([inputs, x])
    *_, feat1, feat2 = ends
    return feat1, feat2, x
