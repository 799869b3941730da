"""How far a run is, and what follows from it: learning rate, phase, augmentation.

Everything is a function of the share that is done, 0..1, so a run that is limited by epochs and
one that is limited by the clock go through the same schedule.
"""

import math

from nets.versions import STRIDES
from utils.config import Recipe

# The smallest height and width at which smaller images at first were seen to gain; 128 lost.
# See docs/recipes.md.
SMALLEST = 192


def share_done(recipe: Recipe, epochs: float, seconds: float) -> float:
    """The share of a run that is done, by epochs or by the clock, whichever is further on."""
    shares = [0.0]
    if recipe.epochs is not None:
        shares.append(epochs / recipe.epochs)
    if recipe.max_minutes is not None:
        shares.append(seconds / (60 * recipe.max_minutes))
    return min(1.0, max(shares))


def learning_rate(recipe: Recipe, share: float) -> float:
    """Cosine decay (Loshchilov and Hutter 2017) with a linear rise at the start of either phase.

    The second rise is there because the optimizer has seen no gradient of the backbone before.
    """
    start = recipe.freeze_share if share >= recipe.freeze_share else 0.0
    warmup = recipe.warmup_share
    rise = min(1.0, (share - start) / warmup + 0.01) if warmup else 1.0
    low = recipe.final_learning_rate
    fall = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * share))
    return recipe.learning_rate * rise * fall


def is_frozen(recipe: Recipe, share: float) -> bool:
    """Whether the backbone is frozen."""
    return share < recipe.freeze_share


def uses_mosaic(recipe: Recipe, share: float) -> bool:
    """Whether mosaic and mixup are used."""
    return share < recipe.mosaic_share


def image_size(recipe: Recipe, share: float, input_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the images: smaller at first, in whole cells of the coarsest level.

    Both sides by one scale, so that photos fill them alike, and none below `SMALLEST`.

    Progressive resizing, as in EfficientNetV2 (Tan and Le 2021, arXiv 2104.00298).
    """
    if share >= recipe.small_share:
        return input_size
    cell = STRIDES[-1]
    scale = min(1.0, max(recipe.small_scale, SMALLEST / min(input_size)))
    return tuple(round(side * scale / cell) * cell for side in input_size)
