"""The presets that `--recipe` selects, and the values that a user can override."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from nets.versions import YoloVersion, as_predecessors, with_iou_objectness, with_neighbours
from utils.config import Augmentation, Optimizer, Recipe, Strategy
from utils.errors import UserError
from utils.precision import PrecisionFlag

# Defaults of an optimizer that replaces the one of the recipe. Losses are means over positives, so
# gradients are small, and SGD needs ten times the learning rate that is usual for sums.
OPTIMIZER_DEFAULTS: dict[Optimizer, dict[str, float]] = {
    "adamw": {"learning_rate": Recipe.learning_rate, "weight_decay": Recipe.weight_decay},
    "sgd": {"learning_rate": 1e-1, "weight_decay": 5e-4},
}


@dataclass(frozen=True)
class Preset:
    """A recipe with the adaptation of the YOLO version and the choice of anchors.

    Attributes:
        recipe: How the detector is trained; its `freeze_share` applies to pretrained weights only.
        adapt: Function that changes assignment and loss weights of a published version.
        cluster_anchors: Whether anchors are clustered from the training boxes; otherwise the
            published ones are used.
    """

    recipe: Recipe
    adapt: Callable[[YoloVersion], YoloVersion]
    cluster_anchors: bool


# As in train.py of efficientnet-yolo3-keras and mobilenet-yolov4-keras: 300 epochs, 50 of them
# frozen; SGD with Nesterov momentum at 1e-2 times 8 / 64, for batches of 8; L2 of 5e-4, whose
# gradient is 1e-3 w and which a momentum of 0.937 makes 16 times as strong; no clipping and no
# average. Not reproduced: 16 images per step while frozen, and a schedule in whole epochs.
_CLASSIC = Recipe(
    epochs=300,
    freeze_share=50 / 300,
    batch_size=8,
    optimizer="sgd",
    learning_rate=1e-2 * 8 / 64,
    weight_decay=1e-3 / (1 - 0.937),
    clip_norm=None,
    ema_momentum=0.0,
    augmentation=Augmentation(),
)

# For a first detector, at a fifth of the cost of the default at 416: few epochs, most of them on
# small images.
_FAST = Recipe(epochs=30, small_share=0.75, small_scale=0.6, validations=5)

_DEFAULT = Recipe(small_share=0.5, small_scale=0.8)


def as_default(version: YoloVersion) -> YoloVersion:
    """Returns a version as the default recipe trains it."""
    return with_iou_objectness(with_neighbours(version))


RECIPES = {
    "default": Preset(_DEFAULT, as_default, cluster_anchors=True),
    "fast": Preset(_FAST, as_default, cluster_anchors=True),
    "classic": Preset(_CLASSIC, as_predecessors, cluster_anchors=False),
}


@dataclass(frozen=True)
class Overrides:
    """Values of the user that replace those of a preset; None keeps the value of the preset.

    Attributes:
        epochs: Number of epochs. If it is None and `max_minutes` is given, only the time is
            limited.
        max_minutes: Wall-clock time of the run.
        freeze_epochs: Number of epochs with a frozen backbone.
        batch_size: Images per step.
        optimizer: Name of the optimizer. If it is not that of the preset, the defaults of learning
            rate and weight decay change with it.
        learning_rate: Peak learning rate.
        patience: Epochs without a better mAP after which training stops.
        save_every: Epochs after which the weights are saved in a file of their own.
        save_minutes: Minutes after which the state for resuming is saved again.
        precision: Numeric precision.
        seed: Seed of weights, data order and augmentation.
        jit: Whether the step is compiled by XLA.
        strategy: Devices that train together.
    """

    epochs: int | None = None
    max_minutes: float | None = None
    freeze_epochs: int | None = None
    batch_size: int | None = None
    optimizer: Optimizer | None = None
    learning_rate: float | None = None
    patience: int | None = None
    save_every: int | None = None
    save_minutes: float | None = None
    precision: PrecisionFlag | None = None
    seed: int = 0
    jit: bool = False
    strategy: Strategy = "single"


def override(recipe: Recipe, user: Overrides, version: YoloVersion) -> Recipe:
    """Returns the recipe of a preset with the user's values in it.

    Args:
        recipe: Recipe of the preset.
        user: The user's values.
        version: Version of the detector, which scales the default learning rate of AdamW.

    Raises:
        UserError: Values contradict each other.
    """
    if user.jit and user.strategy != "single":
        raise UserError("--jit compiles the step for one device, drop --jit or --strategy")
    epochs = user.epochs
    if epochs is None and user.max_minutes is None:
        epochs = recipe.epochs
    # With a time limit the learning rate falls until the last minute, and mAP rises with it.
    patience = user.patience or (None if user.max_minutes else recipe.patience)
    if user.optimizer not in (None, recipe.optimizer):
        defaults = OPTIMIZER_DEFAULTS[user.optimizer]
        recipe = dataclasses.replace(recipe, optimizer=user.optimizer, **defaults)
    return dataclasses.replace(
        recipe,
        epochs=epochs,
        max_minutes=user.max_minutes,
        freeze_share=_freeze_share(recipe, user.freeze_epochs, epochs),
        batch_size=user.batch_size or recipe.batch_size,
        learning_rate=user.learning_rate or learning_rate_for(recipe, version),
        patience=patience,
        save_every=user.save_every,
        save_minutes=user.save_minutes or recipe.save_minutes,
        seed=user.seed,
        precision=user.precision or recipe.precision,
        jit=user.jit,
        strategy=user.strategy,
    )


def learning_rate_for(recipe: Recipe, version: YoloVersion) -> float:
    """Returns the default peak learning rate of a recipe for a version of the detector."""
    scale = version.learning_rate_scale if recipe.optimizer == "adamw" else 1.0
    return scale * recipe.learning_rate


def _freeze_share(recipe: Recipe, freeze_epochs: int | None, epochs: float | None) -> float:
    if freeze_epochs is None:
        return recipe.freeze_share
    if freeze_epochs == 0:
        return 0.0
    if epochs is None:
        raise UserError("--freeze-epochs needs the number of epochs, also set --epochs")
    if freeze_epochs >= epochs:
        raise UserError(f"--freeze-epochs {freeze_epochs} is not within 0..{epochs - 1}")
    return freeze_epochs / epochs
