"""ShuffleNetV2, with structure and layer names as in torchvision.

The kernel of a layer named "stage2.0.branch1.0" is torchvision's tensor of that name with
".weight", so no table is needed to load a checkpoint.
"""

import keras
from keras import KerasTensor

from nets.backbones.registry import Features, register
from nets.conventions import KERAS, TORCH
from nets.layers import Layers
from nets.pretrained import PYTORCH, TorchFiles

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
    x = layers.conv(x, CHANNELS[width][-1], activation="relu", name=("conv5.0", "conv5.1"))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(classes, name="fc")(x)


@register(
    "shufflenetv2",
    widths=tuple(CHANNELS),
    conventions={"keras": KERAS, "torchvision": TORCH},
    top=_top,
    pretrained=TorchFiles(
        "torchvision",
        {
            0.5: f"{PYTORCH}/shufflenetv2_x0.5-f707e7126e.pth",
            1.0: f"{PYTORCH}/shufflenetv2_x1-5666bf0f80.pth",
            1.5: f"{PYTORCH}/shufflenetv2_x1_5-3c479a10.pth",
            2.0: f"{PYTORCH}/shufflenetv2_x2_0-8be3c8ee.pth",
        },
    ),
)
def shufflenetv2(x: KerasTensor, *, width: float, layers: Layers) -> Features:
    """Splits the channels, convolves one half, and shuffles; features are the ends of stages."""
    x = layers.conv(x, 24, 3, 2, "relu", name=("conv1.0", "conv1.1"))
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
    """Convolves half of the channels and leaves the others as they are."""
    untouched, x = keras.ops.split(x, 2, axis=-1)
    return _shuffle(untouched, _branch2(x, x.shape[-1], 1, name, layers))


def _downsampling_unit(x: KerasTensor, filters: int, name: str, layers: Layers) -> KerasTensor:
    """Two branches of stride 2 over all channels, with `filters` channels each."""
    branch1 = f"{name}.branch1"
    left = layers.depthwise(x, 3, 2, name=(f"{branch1}.0", f"{branch1}.1"))
    left = layers.conv(left, filters, 1, 1, "relu", name=(f"{branch1}.2", f"{branch1}.3"))
    return _shuffle(left, _branch2(x, filters, 2, name, layers))


def _branch2(x: KerasTensor, filters: int, strides: int, name: str, layers: Layers) -> KerasTensor:
    name = f"{name}.branch2"
    x = layers.conv(x, filters, 1, 1, "relu", name=(f"{name}.0", f"{name}.1"))
    x = layers.depthwise(x, 3, strides, name=(f"{name}.3", f"{name}.4"))
    return layers.conv(x, filters, 1, 1, "relu", name=(f"{name}.5", f"{name}.6"))


def _shuffle(left: KerasTensor, right: KerasTensor) -> KerasTensor:
    """Alternates the channels of both, which equals concatenation and a shuffle of two groups."""
    return ChannelShuffle()([left, right])


class ChannelShuffle(keras.layers.Layer):
    """Alternates the channels of two features of any size."""

    def call(self, features: list[KerasTensor]) -> KerasTensor:
        """Two features (B, H, W, C) -> (B, H, W, 2 C)."""
        _, height, width, channels = keras.ops.shape(features[0])
        both = keras.ops.stack(features, axis=-1)
        return keras.ops.reshape(both, (-1, height, width, 2 * channels))
