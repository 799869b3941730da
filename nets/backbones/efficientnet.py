"""EfficientNet B0 to B7 and lite0, their layers named as in keras.applications."""

import math
from dataclasses import replace
from functools import partial

import keras
from keras import KerasTensor

from nets.backbones.registry import Features, register
from nets.conventions import IMAGENET, KERAS, TORCH
from nets.layers import Layers, make_divisible, squeeze_excite

# Keras' weights too were trained on pixels normalized as ImageNet's. Its Normalization layer holds
# the deviation where the variance belongs, and a further Rescaling by 1/sqrt(std) makes up for it
# (github.com/tensorflow/tensorflow/issues/49930); taken together that is (rgb - mean) / std.
CONVENTIONS = {"keras": replace(KERAS, **IMAGENET), "torch": TORCH}

# Tan and Le, "EfficientNet", arXiv 1905.11946, Table 1, with the repeats of B0.
STAGES = [
    # kernel size, expansion, channels, repeats, strides of the first
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
]

# Compound scaling, from the reference code: github.com/tensorflow/tpu, efficientnet_builder.py.
VARIANTS = {
    # width coefficient, depth coefficient
    "efficientnetb0": (1.0, 1.0),
    "efficientnetb1": (1.0, 1.1),
    "efficientnetb2": (1.1, 1.2),
    "efficientnetb3": (1.2, 1.4),
    "efficientnetb4": (1.4, 1.8),
    "efficientnetb5": (1.6, 2.2),
    "efficientnetb6": (1.8, 2.6),
    "efficientnetb7": (2.0, 3.1),
}


def efficientnet(
    x: KerasTensor,
    *,
    width: float,
    layers: Layers,
    widening: float,
    deepening: float,
    activation: str = "swish",
    excited: bool = True,
) -> Features:
    """Inverted residuals with swish and squeeze-and-excitation, scaled as a compound.

    The lite ones have another `activation` and nothing `excited`. The features are the ends of
    stages 3, 5 and 7: 40, 112 and 320 channels in B0. There is no stochastic depth, which would go
    on disturbing the features of a frozen backbone.
    """
    widening *= width
    filters = make_divisible(32 * widening)
    x = layers.conv(x, filters, 3, 2, activation, name="stem_conv", bn="stem_bn")
    ends = []
    for stage, (kernel_size, expansion, channels, repeats, stride) in enumerate(STAGES, start=1):
        filters = make_divisible(channels * widening)
        for block in range(math.ceil(repeats * deepening)):
            strides = stride if block == 0 else 1
            if strides == 2:
                ends.append(x)
            name = f"block{stage}{chr(ord('a') + block)}"
            x = _block(
                x, filters, kernel_size, strides, expansion, activation, excited, name, layers
            )
    *_, feat1, feat2 = ends
    return feat1, feat2, x


def _block(
    inputs: KerasTensor,
    filters: int,
    kernel_size: int,
    strides: int,
    expansion: int,
    activation: str,
    excited: bool,
    name: str,
    layers: Layers,
) -> KerasTensor:
    x, channels = inputs, inputs.shape[-1]
    if expansion != 1:
        x = layers.conv(
            x,
            expansion * channels,
            activation=activation,
            name=f"{name}_expand_conv",
            bn=f"{name}_expand_bn",
        )
    names = {"name": f"{name}_dwconv", "bn": f"{name}_bn"}
    x = layers.depthwise(x, kernel_size, strides, activation, **names)
    if excited:
        se = (f"{name}_se_reduce", f"{name}_se_expand")
        x = squeeze_excite(x, channels // 4, activation, "sigmoid", names=se)
    x = layers.conv(x, filters, name=f"{name}_project_conv", bn=f"{name}_project_bn")
    if strides == 1 and channels == filters:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _top(
    x: KerasTensor,
    *,
    width: float,
    layers: Layers,
    classes: int,
    widening: float,
    activation: str = "swish",
) -> KerasTensor:
    filters = make_divisible(1280 * width * widening)
    x = layers.conv(x, filters, activation=activation, name="top_conv", bn="top_bn")
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(classes, name="predictions")(x)


for _name, (_widening, _deepening) in VARIANTS.items():
    register(
        _name,
        conventions=CONVENTIONS,
        top=partial(_top, widening=_widening),
        aliases=("efficientnet",) if _name == "efficientnetb0" else (),
    )(partial(efficientnet, widening=_widening, deepening=_deepening))

# B0 without what integer hardware does badly: github.com/tensorflow/tpu, efficientnet/lite. That
# the lite ones widen neither stem nor top only shows in the larger of them.
register(
    "efficientnet_lite0",
    conventions=CONVENTIONS,
    top=partial(_top, widening=1.0, activation="relu6"),
)(partial(efficientnet, widening=1.0, deepening=1.0, activation="relu6", excited=False))
