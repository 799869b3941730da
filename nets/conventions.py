"""What the weights of each framework assume about padding, epsilon and pixel scaling."""

import math
from dataclasses import dataclass
from typing import Literal

from nets.choices import check_choices


@dataclass(frozen=True)
class Convention:
    """What the weights of one framework assume about the network they are used in.

    One convention applies to a whole detector, including neck and head. A checkpoint also loads
    and runs under another convention, but then its results are wrong.

    Attributes:
        padding: With "keras", a stride 2 convolution of kernel k is padded by (k//2 - 1, k//2) at
            even sizes; with "torch", by k//2 on every side. At stride 1 the two agree.
        bn_epsilon: Added to the variance by batch normalization.
        mean: RGB mean that is subtracted from the pixels, in 0..255.
        std: Divisor of the result, in the same units.
        hard_sigmoid_slope: Slope of the hard sigmoid in GhostNet's gates: 1/6, except in Keras 2,
            where it was 0.2.

    Raises:
        ValueError: The padding is neither "keras" nor "torch", a number is not finite, or
            `bn_epsilon` or `std` is not positive.
    """

    padding: Literal["keras", "torch"]
    bn_epsilon: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    hard_sigmoid_slope: float = 1 / 6

    def __post_init__(self) -> None:
        check_choices(self)
        numbers = {
            "bn_epsilon": (self.bn_epsilon,),
            "mean": self.mean,
            "std": self.std,
            "hard_sigmoid_slope": (self.hard_sigmoid_slope,),
        }
        for name, values in numbers.items():
            if not all(map(math.isfinite, values)):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be finite")
        for name in ("bn_epsilon", "std"):  # they divide
            if min(numbers[name]) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be greater than 0")


# Mean and standard deviation of ImageNet's pixels, as used by all recipes of torchvision and timm.
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
# Scales pixels to -1..1.
SYMMETRIC = {"mean": (127.5,) * 3, "std": (127.5,) * 3}

# Most families of torchvision and timm share one convention; those of Keras differ in scaling.
TORCH = Convention(padding="torch", bn_epsilon=1e-5, **IMAGENET)
KERAS = Convention(padding="keras", bn_epsilon=1e-3, **SYMMETRIC)

# Darknet's convolutional_layer.c pads by half the kernel on every side; pixels are divided by 255.
# The epsilon is that of OpenCV's reader. blas.c has 1e-6 outside the root in pjreddie/darknet and
# 1e-5 inside it in AlexeyAB/darknet; the results differ only if a variance is that small.
DARKNET = Convention(padding="torch", bn_epsilon=1e-6, mean=(0.0,) * 3, std=(255.0,) * 3)
