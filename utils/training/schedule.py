"""The training schedule: learning rate, frozen backbone, mosaic and image size.

All of these depend only on the share of the run that is done, 0..1. Runs that are limited by epochs
and runs that are limited by time therefore follow the same schedule.
"""

import math

from nets.versions import STRIDES
from utils.config import Recipe

# Minimum height and width of smaller images. Starting with 192 pixels improved mAP, 128 reduced it;
# see docs/recipes.md.
MIN_TRAINING_SIDE = 192

ROUNDING = 1e-9  # shares are floats: a computed 0.3 can be less than 3 * 0.1
VALIDATION_SHARE = 0.1  # of a time limit, for all validations but the last


def share_done(recipe: Recipe, epochs: float, seconds: float) -> float:
    """Returns the share of a run that is done, 0..1.

    Args:
        recipe: Limits of the run.
        epochs: Number of epochs trained so far.
        seconds: Wall-clock time spent so far.

    Returns:
        The share of the epochs or of the minutes, whichever is larger.
    """
    shares = [0.0]
    if recipe.epochs is not None:
        shares.append(epochs / recipe.epochs)
    if recipe.max_minutes is not None:
        shares.append(seconds / (60 * recipe.max_minutes))
    return min(1.0, max(shares))


def validation_is_due(
    recipe: Recipe, share: float, last: float, spent: float = 0.0, expected: float = 0.0
) -> bool:
    """Whether to validate after an epoch.

    The run is divided into `recipe.validations` equal parts. In each part except the first,
    validation takes place after the first epoch that ends in this part. The last validation is at
    the end of the run. In a run with a time limit, the others may take `VALIDATION_SHARE` of the
    time together. What is left of it is spread evenly over the rest of the run. If it is not enough
    for one more validation, only the last one takes place.

    Args:
        recipe: Limits of the run, and number of validations.
        share: Share of the run that is done, 0..1.
        last: Share at the last validation; 0 before the first.
        spent: Seconds that the validations have taken.
        expected: Seconds that the next validation is expected to take.
    """
    if share >= 1.0:
        return True
    part, last_part = (math.floor(at * recipe.validations + ROUNDING) for at in (share, last))
    if part == last_part:
        return False
    if recipe.max_minutes is None or not expected:
        return True
    left = max(0.0, VALIDATION_SHARE * 60 * recipe.max_minutes - spent)
    affordable = math.floor(left / expected + ROUNDING)
    return affordable > 0 and share + ROUNDING >= last + (1.0 - last) / (affordable + 1)


def learning_rate(recipe: Recipe, share: float) -> float:
    """Cosine decay (Loshchilov and Hutter 2017) with a linear warm-up at the start of each phase.

    The second phase has a warm-up because the optimizer has not seen gradients of the backbone yet.
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


def training_size(recipe: Recipe, share: float, input_size: tuple[int, int]) -> tuple[int, int]:
    """Returns the height and width of the training images: smaller ones come first.

    Progressive resizing, as in EfficientNetV2 (Tan and Le 2021, arXiv 2104.00298).

    Args:
        recipe: The part of the run with smaller images, and their size.
        share: Share of the run that is done, 0..1.
        input_size: Height and width of the network's input in pixels.

    Returns:
        Both sides scaled by one factor, as multiples of 32. Neither is scaled below
        `MIN_TRAINING_SIDE`.
    """
    if share >= recipe.small_share:
        return input_size
    cell = STRIDES[-1]
    scale = min(1.0, max(recipe.small_scale, MIN_TRAINING_SIDE / min(input_size)))
    return tuple(round(side * scale / cell) * cell for side in input_size)
