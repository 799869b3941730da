"""MobileNet V1, V2 and V3, with the layer names of keras.applications."""

import keras
from keras import KerasTensor

from nets.backbones.layers import KERAS, TORCH, Layers, make_divisible
from nets.backbones.registry import Features, register

CONVENTIONS = {"keras": KERAS, "torch": TORCH}

# Sandler et al., "MobileNetV2", arXiv 1801.04381, Table 2: t, c, n, s.
V2_BLOCKS = [
    # expansion, channels, repeats, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def _v2_top(x: KerasTensor, *, width: float, layers: Layers, classes: int) -> KerasTensor:
    """The last convolution grows with the width but never shrinks (section 5 of the paper)."""
    x = layers.conv(x, make_divisible(1280 * max(1.0, width)), activation="relu6", name="Conv_1")
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(classes, name="predictions")(x)


@register(
    "mobilenetv2",
    widths=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    conventions=CONVENTIONS,
    top=_v2_top,
)
def mobilenetv2(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Inverted residuals with linear bottlenecks: 32, 96 and 320 channels at width 1."""
    x = layers.conv(x, make_divisible(32 * width), 3, 2, "relu6", name="Conv1", bn="bn_Conv1")
    ends = []
    index = 0
    for expansion, channels, repeats, stride in V2_BLOCKS:
        for repeat in range(repeats):
            strides = stride if repeat == 0 else 1
            if strides == 2:
                ends.append(x)
            filters = make_divisible(channels * width)
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
        hidden = expansion * inputs.shape[-1]
        x = layers.conv(
            x, hidden, activation="relu6", name=f"{name}_expand", bn=f"{name}_expand_BN"
        )
    x = layers.depthwise(
        x, 3, strides, "relu6", name=f"{name}_depthwise", bn=f"{name}_depthwise_BN"
    )
    x = layers.conv(x, filters, name=f"{name}_project", bn=f"{name}_project_BN")
    if strides == 1 and inputs.shape[-1] == filters:
        x = keras.layers.Add(name=f"{name}_add")([inputs, x])
    return x
