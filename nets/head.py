"""The YOLO head: pyramid maps -> raw logits of each anchor in each cell."""

import math
from collections.abc import Sequence

import numpy as np
from keras import KerasTensor, initializers, layers

from nets.blocks import ConvBlocks
from nets.necks import Pyramid
from nets.versions import ANCHORS_PER_LEVEL, numbers_of

# Initial probability that a prediction is an object, so that the first steps are not dominated by
# the many empty cells (Lin et al. 2017, Focal Loss, section 4.1).
OBJECTNESS_PRIOR = 0.01


def yolo_head(
    pyramid: Pyramid, channels: Sequence[int], num_classes: int, blocks: ConvBlocks
) -> KerasTensor:
    """Predicts from each pyramid map by a spatial convolution and a 1x1 convolution with bias.

    Args:
        pyramid: Maps at strides 8, 16 and 32, or 16 and 32.
        channels: Channels of the spatial convolution at each level.
        num_classes: Number of classes C.
        blocks: Style of the spatial convolutions.

    Returns:
        Logits (B, P, 5 + C) in float32: `tx, ty, tw, th, objectness, class...`. P is the sum of
        `h * w * 3` over the levels, smallest stride first; within a level, predictions are ordered
        by row, column and anchor.
    """
    bias = initializers.Constant(_prior_bias(num_classes))
    logits = []
    for level, features, filters in zip(numbers_of(pyramid), pyramid, channels, strict=True):
        # If the mean of the activations were large, a small step of a thousand weights would move
        # the logits to where sigmoid and exp are flat. Hence the offset of 0.
        x = blocks.spatial_conv(features, filters, f"head_p{level}", offset=0.0)
        x = layers.Conv2D(
            ANCHORS_PER_LEVEL * (5 + num_classes),
            1,
            kernel_initializer=initializers.RandomNormal(stddev=0.01),
            bias_initializer=bias,
            dtype="float32",
            name=f"head_p{level}_logits",
        )(x)
        logits.append(
            layers.Reshape((-1, 5 + num_classes), dtype="float32", name=f"head_p{level}_rows")(x)
        )
    return layers.Concatenate(axis=1, dtype="float32", name="logits")(logits)


def is_output(name: str) -> bool:
    """Whether a layer, or a weight named after it, is one that predicts the logits of a level."""
    return name.startswith("head_p") and name.partition("/")[0].endswith("_logits")


def _prior_bias(num_classes: int) -> np.ndarray:
    class_prior = min(1 / num_classes, 1 - OBJECTNESS_PRIOR)
    anchor = [0.0] * 4 + [_logit(OBJECTNESS_PRIOR)] + [_logit(class_prior)] * num_classes
    return np.tile(np.array(anchor, np.float32), ANCHORS_PER_LEVEL)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
