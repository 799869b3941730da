"""EfficientNet B0 to B7 and lite0, with layers named as in keras.applications."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import keras
from keras import KerasTensor

from nets.backbones.registry import Features, register
from nets.conventions import IMAGENET, KERAS, TORCH
from nets.layers import Layers, make_divisible, squeeze_excite
from nets.pretrained import HUGGING_FACE, KerasApplication, LayerNames, TorchFiles

# Keras' weights were also trained with ImageNet's mean and standard deviation. Its Normalization
# layer has the standard deviation in place of the variance, and another Rescaling by 1/sqrt(std)
# compensates for it (github.com/tensorflow/tensorflow/issues/49930). Together they compute
# (rgb - mean) / std.
CONVENTIONS = {
    "keras": replace(KERAS, **IMAGENET),
    "timm": TORCH,
    "torchvision": TORCH,
    # github.com/lukemelas/EfficientNet-PyTorch has the weights of TensorFlow's reference code.
    "efficientnet_pytorch": replace(KERAS, **IMAGENET),
}
# MEAN_RGB and STDDEV_RGB in github.com/tensorflow/tpu, efficientnet_lite_builder.py.
LITE_CONVENTIONS = CONVENTIONS | {
    "efficientnet_pytorch": replace(KERAS, mean=(127.0,) * 3, std=(128.0,) * 3)
}
# torchvision/models/efficientnet.py normalizes B5 to B7 with this epsilon.
TORCHVISION_LARGE = {"torchvision": replace(TORCH, bn_epsilon=1e-3)}

LAYER_NAMES = LayerNames(
    stem=("stem_conv", "stem_bn"),
    block="block{stage}{letter}",
    expand=("{}_expand_conv", "{}_expand_bn"),
    depthwise=("{}_dwconv", "{}_bn"),
    project=("{}_project_conv", "{}_project_bn"),
    squeeze=("{}_se_reduce", "{}_se_expand"),
    top=("top_conv", "top_bn", "predictions"),
)


class Stage(NamedTuple):
    """A stage of blocks of equal shape; `strides` are those of the first block."""

    kernel_size: int
    expansion: int
    channels: int
    repeats: int
    strides: int


# Tan and Le, "EfficientNet", arXiv 1905.11946, Table 1, with the repeats of B0.
STAGES = [
    Stage(3, 1, 16, 1, 1),
    Stage(3, 6, 24, 2, 2),
    Stage(5, 6, 40, 2, 2),
    Stage(3, 6, 80, 3, 2),
    Stage(5, 6, 112, 3, 1),
    Stage(5, 6, 192, 4, 2),
    Stage(3, 6, 320, 1, 1),
]


@dataclass(frozen=True)
class Variant:
    """A member of the family.

    Attributes:
        widening: Multiplier of the number of channels.
        deepening: Multiplier of the number of blocks per stage.
        activation: Activation of all blocks.
        excited: Whether blocks have squeeze and excitation.
    """

    widening: float
    deepening: float
    activation: str = "swish"
    excited: bool = True

    def repeats(self, stage: Stage) -> int:
        """Returns the number of blocks of a stage."""
        return math.ceil(stage.repeats * self.deepening)

    @property
    def layer_names(self) -> LayerNames:
        """Names of the layers."""
        return replace(LAYER_NAMES, repeats=tuple(map(self.repeats, STAGES)))


# Compound scaling, from the reference code: github.com/tensorflow/tpu, efficientnet_builder.py.
VARIANTS = {
    "efficientnetb0": Variant(1.0, 1.0),
    "efficientnetb1": Variant(1.0, 1.1),
    "efficientnetb2": Variant(1.1, 1.2),
    "efficientnetb3": Variant(1.2, 1.4),
    "efficientnetb4": Variant(1.4, 1.8),
    "efficientnetb5": Variant(1.6, 2.2),
    "efficientnetb6": Variant(1.8, 2.6),
    "efficientnetb7": Variant(2.0, 3.1),
}
# B0 without the operations that are slow on integer hardware: see efficientnet/lite in
# github.com/tensorflow/tpu. The lite networks widen neither the stem nor the top, which makes a
# difference only in the larger ones.
LITE0 = Variant(1.0, 1.0, activation="relu6", excited=False)


def efficientnet(x: KerasTensor, *, width: float, layers: Layers, variant: Variant) -> Features:
    """Inverted residuals with squeeze and excitation, scaled in width and depth together.

    The features are the ends of stages 3, 5 and 7: 40, 112 and 320 channels in B0. There is no
    stochastic depth, since it would also disturb the features of a frozen backbone.
    """
    widening = variant.widening * width
    filters = make_divisible(32 * widening)
    x = layers.conv(x, filters, 3, 2, variant.activation, name=("stem_conv", "stem_bn"))
    ends = []
    for number, stage in enumerate(STAGES, start=1):
        filters = make_divisible(stage.channels * widening)
        for block in range(variant.repeats(stage)):
            shape = stage._replace(channels=filters, strides=stage.strides if block == 0 else 1)
            if shape.strides == 2:
                ends.append(x)
            x = _block(x, shape, variant, f"block{number}{chr(ord('a') + block)}", layers)
    *_, feat1, feat2 = ends
    return feat1, feat2, x


def _block(
    inputs: KerasTensor, shape: Stage, variant: Variant, name: str, layers: Layers
) -> KerasTensor:
    x, channels, activation = inputs, inputs.shape[-1], variant.activation
    if shape.expansion != 1:
        names = (f"{name}_expand_conv", f"{name}_expand_bn")
        x = layers.conv(x, shape.expansion * channels, activation=activation, name=names)
    names = (f"{name}_dwconv", f"{name}_bn")
    x = layers.depthwise(x, shape.kernel_size, shape.strides, activation, name=names)
    if variant.excited:
        names = (f"{name}_se_reduce", f"{name}_se_expand")
        x = squeeze_excite(x, channels // 4, activation, "sigmoid", names=names)
    x = layers.conv(x, shape.channels, name=(f"{name}_project_conv", f"{name}_project_bn"))
    if shape.strides == 1 and channels == shape.channels:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _top(
    x: KerasTensor, *, width: float, layers: Layers, classes: int, variant: Variant
) -> KerasTensor:
    filters = make_divisible(1280 * width * variant.widening)
    x = layers.conv(x, filters, activation=variant.activation, name=("top_conv", "top_bn"))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(classes, name="predictions")(x)


for _number, (_name, _variant) in enumerate(VARIANTS.items()):
    register(
        _name,
        conventions=CONVENTIONS | (TORCHVISION_LARGE if _number >= 5 else {}),
        top=partial(_top, variant=_variant),
        pretrained=KerasApplication(f"EfficientNetB{_number}"),
        layer_names=_variant.layer_names,
        aliases=("efficientnet",) if _number == 0 else (),
    )(partial(efficientnet, variant=_variant))

register(
    "efficientnet_lite0",
    conventions=LITE_CONVENTIONS,
    top=partial(_top, variant=LITE0),
    pretrained=TorchFiles(
        "timm",
        {1.0: f"{HUGGING_FACE}/timm/efficientnet_lite0.ra_in1k/resolve/main/model.safetensors"},
    ),
    layer_names=LITE0.layer_names,
)(partial(efficientnet, variant=LITE0))
