"""What the weights of each framework assume of the graph around them, as pure data."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Convention:
    """What the weights of one framework silently assume of the graph around them.

    A detector has one for all of it, neck and head included.

    With another convention than its own a checkpoint still loads and still runs, and is wrong.

    Attributes:
        padding: "keras" pads a stride 2 convolution of kernel k with (k//2 - 1, k//2) at even
            sizes, "torch" with k//2 on every side. At stride 1 the two agree.
        bn_epsilon: what batch normalization adds to the variance.
        mean: RGB mean taken off the pixels, which are in 0..255.
        std: what the result is then divided by, in the same units.
        hard_sigmoid_slope: of GhostNet's gates, 1/6 everywhere but in Keras 2, where it was 0.2.
    """

    padding: Literal["keras", "torch"]
    bn_epsilon: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    hard_sigmoid_slope: float = 1 / 6


# Mean and deviation of ImageNet's pixels, as every torchvision and timm recipe uses them.
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}

# One convention serves all families of torchvision and timm; those of Keras differ by scaling.
TORCH = Convention(padding="torch", bn_epsilon=1e-5, **IMAGENET)
KERAS = Convention(padding="keras", bn_epsilon=1e-3, mean=(127.5,) * 3, std=(127.5,) * 3)
