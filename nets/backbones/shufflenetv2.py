"""ShuffleNetV2, structure and layer names as in torchvision.

The kernel of a layer named "stage2.0.branch1.0" is torchvision's tensor of that name with
".weight", so that a checkpoint maps without a table.
"""

import keras
from keras import KerasTensor

from nets.backbones.registry import Features, register
from nets.conventions import KERAS, TORCH
from nets.layers import Layers

# Ma et al., "ShuffleNet V2", arXiv 1807.11164, Table 5.
CHANNELS = {
    # width: stages 2, 3 and 4, and the last convolution
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
REPEATS = (4, 8, 4)


def _top(x: KerasTensor, *, width: float, layers: Layers, classes: int) -> KerasTensor:
    x = layers.conv(x, CHANNELS[width][-1], activation="relu", name="conv5.0", bn="conv5.1")
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(classes, name="fc")(x)


@register(
    "shufflenetv2",
    widths=tuple(CHANNELS),
    conventions={"keras": KERAS, "torch": TORCH},
    top=_top,
)
def shufflenetv2(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Channels split, half of them convolved, then shuffled; the features are the stages' ends."""
    x = layers.conv(x, 24, 3, 2, "relu", name="conv1.0", bn="conv1.1")
    x = layers.max_pool(x)
    ends = []
    stages = zip(CHANNELS[width][:3], REPEATS, strict=True)
    for stage, (channels, repeats) in enumerate(stages, start=2):
        x = _downsampling_unit(x, channels // 2, f"stage{stage}.0", layers)
        for unit in range(1, repeats):
            x = _unit(x, f"stage{stage}.{unit}", layers)
        ends.append(x)
    return tuple(ends)


def _unit(x: KerasTensor, name: str, layers: Layers) -> KerasTensor:
    """Half of the channels pass untouched."""
    untouched, x = keras.ops.split(x, 2, axis=-1)
    return _shuffle(untouched, _branch2(x, x.shape[-1], 1, name, layers))


def _downsampling_unit(x: KerasTensor, filters: int, name: str, layers: Layers) -> KerasTensor:
    """Both branches see all channels at stride 2 and give `filters` each."""
    branch1 = f"{name}.branch1"
    left = layers.depthwise(x, 3, 2, name=f"{branch1}.0", bn=f"{branch1}.1")
    left = layers.conv(left, filters, 1, 1, "relu", name=f"{branch1}.2", bn=f"{branch1}.3")
    return _shuffle(left, _branch2(x, filters, 2, name, layers))


def _branch2(x: KerasTensor, filters: int, strides: int, name: str, layers: Layers) -> KerasTensor:
    name = f"{name}.branch2"
    x = layers.conv(x, filters, 1, 1, "relu", name=f"{name}.0", bn=f"{name}.1")
    x = layers.depthwise(x, 3, strides, name=f"{name}.3", bn=f"{name}.4")
    return layers.conv(x, filters, 1, 1, "relu", name=f"{name}.5", bn=f"{name}.6")


def _shuffle(left: KerasTensor, right: KerasTensor) -> KerasTensor:
    """Channels of both by turns, which is concatenating and shuffling with two groups."""
    return ChannelShuffle()([left, right])


class ChannelShuffle(keras.layers.Layer):
    """Takes channels of two features by turns, at any size."""

    def call(self, features: list[KerasTensor]) -> KerasTensor:
        """Two of (B, H, W, C) -> (B, H, W, 2 C)."""
        _, height, width, channels = keras.ops.shape(features[0])
        both = keras.ops.stack(features, axis=-1)
        return keras.ops.reshape(both, (-1, height, width, 2 * channels))
