"""GhostNet, with structure and layer names as in timm: half of the channels are computed cheaply.

The kernel of a layer named "blocks.0.0.ghost1.primary_conv.0" is timm's tensor of that name
with ".weight", so no table is needed to load a checkpoint.
"""

from typing import NamedTuple

import keras
from keras import KerasTensor

from nets.backbones.registry import Features, register
from nets.conventions import KERAS, TORCH
from nets.layers import Layers, make_divisible, squeeze_excite
from nets.pretrained import HUGGING_FACE, TorchFiles


class Bottleneck(NamedTuple):
    """The shape of a ghost bottleneck."""

    kernel_size: int
    hidden: int
    channels: int
    excited: bool
    strides: int


# Han et al., "GhostNet", arXiv 1911.11907, Table 1, in the stages of timm/models/ghostnet.py.
STAGES = [
    [Bottleneck(3, 16, 16, False, 1)],
    [Bottleneck(3, 48, 24, False, 2)],
    [Bottleneck(3, 72, 24, False, 1)],
    [Bottleneck(5, 72, 40, True, 2)],
    [Bottleneck(5, 120, 40, True, 1)],
    [Bottleneck(3, 240, 80, False, 2)],
    [
        Bottleneck(3, 200, 80, False, 1),
        Bottleneck(3, 184, 80, False, 1),
        Bottleneck(3, 184, 80, False, 1),
        Bottleneck(3, 480, 112, True, 1),
        Bottleneck(3, 672, 112, True, 1),
    ],
    [Bottleneck(5, 672, 160, True, 2)],
    [
        Bottleneck(5, 960, 160, False, 1),
        Bottleneck(5, 960, 160, True, 1),
        Bottleneck(5, 960, 160, False, 1),
        Bottleneck(5, 960, 160, True, 1),
    ],
]


def _top(x: KerasTensor, *, width: float, layers: Layers, classes: int) -> KerasTensor:
    filters = make_divisible(960 * width, 4)
    x = layers.conv(x, filters, activation="relu", name=("blocks.9.0.conv", "blocks.9.0.bn1"))
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Conv2D(1280, 1, activation="relu", name="conv_head")(x)
    return keras.layers.Dense(classes, name="classifier")(keras.layers.Flatten()(x))


@register(
    "ghostnet",
    widths=(0.5, 1.0, 1.3),
    conventions={"keras": KERAS, "timm": TORCH},
    top=_top,
    pretrained=TorchFiles(
        "timm", {1.0: f"{HUGGING_FACE}/timm/ghostnet_100.in1k/resolve/main/model.safetensors"}
    ),
)
def ghostnet(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Ghost bottlenecks; ends of stages 4, 6 and 8: 40, 112 and 160 channels at width 1."""
    x = layers.conv(x, make_divisible(16 * width, 4), 3, 2, "relu", name=("conv_stem", "bn1"))
    ends = []
    for stage, blocks in enumerate(STAGES):
        for block, shape in enumerate(blocks):
            if shape.strides == 2:
                ends.append(x)
            shape = shape._replace(
                hidden=make_divisible(shape.hidden * width, 4),
                channels=make_divisible(shape.channels * width, 4),
            )
            x = _bottleneck(x, shape, f"blocks.{stage}.{block}", layers)
    *_, feat1, feat2 = ends
    return feat1, feat2, x


def _bottleneck(inputs: KerasTensor, shape: Bottleneck, name: str, layers: Layers) -> KerasTensor:
    """Expands, downsamples at stride 2, excites, projects, and adds the inputs."""
    kernel_size, strides = shape.kernel_size, shape.strides
    x = _ghost_module(inputs, shape.hidden, "relu", f"{name}.ghost1", layers)
    if strides == 2:
        x = layers.depthwise(x, kernel_size, 2, name=(f"{name}.conv_dw", f"{name}.bn_dw"))
    if shape.excited:
        names = (f"{name}.se.conv_reduce", f"{name}.se.conv_expand")
        squeezed = make_divisible(shape.hidden / 4, 4)
        x = squeeze_excite(x, squeezed, "relu", layers.hard_sigmoid, names=names)
    x = _ghost_module(x, shape.channels, None, f"{name}.ghost2", layers)
    shortcut = inputs
    if strides == 2 or inputs.shape[-1] != shape.channels:
        name = f"{name}.shortcut"
        shortcut = layers.depthwise(inputs, kernel_size, strides, name=(f"{name}.0", f"{name}.1"))
        shortcut = layers.conv(shortcut, shape.channels, name=(f"{name}.2", f"{name}.3"))
    return keras.layers.Add()([x, shortcut])


def _ghost_module(
    x: KerasTensor, filters: int, activation: str | None, name: str, layers: Layers
) -> KerasTensor:
    """Computes half of the channels by a 1x1 convolution, and the others from them by a 3x3 one."""
    primary, cheap = f"{name}.primary_conv", f"{name}.cheap_operation"
    x = layers.conv(x, filters // 2, 1, 1, activation, name=(f"{primary}.0", f"{primary}.1"))
    ghosts = layers.depthwise(x, 3, 1, activation, name=(f"{cheap}.0", f"{cheap}.1"))
    return keras.layers.Concatenate()([x, ghosts])
