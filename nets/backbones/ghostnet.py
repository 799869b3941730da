"""GhostNet, structure and layer names as in timm: half the channels by convolution, half cheaply.

The kernel of a layer named "blocks.0.0.ghost1.primary_conv.0" is timm's tensor of that name
with ".weight", so that a checkpoint maps without a table.
"""

import keras
from keras import KerasTensor

from nets.backbones.registry import Features, register
from nets.conventions import KERAS, TORCH
from nets.layers import Layers, make_divisible, squeeze_excite

# Han et al., "GhostNet", arXiv 1911.11907, Table 1, in the stages of timm/models/ghostnet.py.
STAGES = [
    # kernel size, hidden channels, channels, squeeze and excitation, strides
    [(3, 16, 16, False, 1)],
    [(3, 48, 24, False, 2)],
    [(3, 72, 24, False, 1)],
    [(5, 72, 40, True, 2)],
    [(5, 120, 40, True, 1)],
    [(3, 240, 80, False, 2)],
    [
        (3, 200, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 480, 112, True, 1),
        (3, 672, 112, True, 1),
    ],
    [(5, 672, 160, True, 2)],
    [
        (5, 960, 160, False, 1),
        (5, 960, 160, True, 1),
        (5, 960, 160, False, 1),
        (5, 960, 160, True, 1),
    ],
]


def _top(x: KerasTensor, *, width: float, layers: Layers, classes: int) -> KerasTensor:
    x = layers.conv(
        x,
        make_divisible(960 * width, 4),
        activation="relu",
        name="blocks.9.0.conv",
        bn="blocks.9.0.bn1",
    )
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Conv2D(1280, 1, activation="relu", name="conv_head")(x)
    return keras.layers.Dense(classes, name="classifier")(keras.layers.Flatten()(x))


@register(
    "ghostnet", widths=(0.5, 1.0, 1.3), conventions={"keras": KERAS, "torch": TORCH}, top=_top
)
def ghostnet(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Ghost bottlenecks; ends of stages 4, 6 and 8: 40, 112 and 160 channels at width 1."""
    x = layers.conv(x, make_divisible(16 * width, 4), 3, 2, "relu", name="conv_stem", bn="bn1")
    ends = []
    for stage, blocks in enumerate(STAGES):
        for block, (kernel_size, hidden, channels, excited, strides) in enumerate(blocks):
            if strides == 2:
                ends.append(x)
            x = _bottleneck(
                x,
                make_divisible(hidden * width, 4),
                make_divisible(channels * width, 4),
                kernel_size,
                strides,
                excited,
                f"blocks.{stage}.{block}",
                layers,
            )
    *_, feat1, feat2 = ends
    return feat1, feat2, x


def _bottleneck(
    inputs: KerasTensor,
    hidden: int,
    filters: int,
    kernel_size: int,
    strides: int,
    excited: bool,
    name: str,
    layers: Layers,
) -> KerasTensor:
    """Expand, at stride 2 sample down, excite, project, and add the inputs."""
    x = _ghost_module(inputs, hidden, "relu", f"{name}.ghost1", layers)
    if strides == 2:
        x = layers.depthwise(x, kernel_size, 2, name=f"{name}.conv_dw", bn=f"{name}.bn_dw")
    if excited:
        se = (f"{name}.se.conv_reduce", f"{name}.se.conv_expand")
        x = squeeze_excite(x, make_divisible(hidden / 4, 4), "relu", layers.hard_sigmoid, names=se)
    x = _ghost_module(x, filters, None, f"{name}.ghost2", layers)
    shortcut = inputs
    if strides == 2 or inputs.shape[-1] != filters:
        name = f"{name}.shortcut"
        shortcut = layers.depthwise(inputs, kernel_size, strides, name=f"{name}.0", bn=f"{name}.1")
        shortcut = layers.conv(shortcut, filters, name=f"{name}.2", bn=f"{name}.3")
    return keras.layers.Add()([x, shortcut])


def _ghost_module(
    x: KerasTensor, filters: int, activation: str | None, name: str, layers: Layers
) -> KerasTensor:
    """Half of the channels from a 1x1 convolution, the others each from one of those by a 3x3."""
    primary, cheap = f"{name}.primary_conv", f"{name}.cheap_operation"
    x = layers.conv(x, filters // 2, 1, 1, activation, name=f"{primary}.0", bn=f"{primary}.1")
    ghosts = layers.depthwise(x, 3, 1, activation, name=f"{cheap}.0", bn=f"{cheap}.1")
    return keras.layers.Concatenate()([x, ghosts])
