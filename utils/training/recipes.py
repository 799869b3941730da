"""The recipes that `--recipe` names: how a detector is trained unless other flags say otherwise."""

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from nets.versions import YoloVersion, as_predecessors, with_neighbours
from utils.config import Recipe
from utils.data.augment import Augmentation
from utils.errors import UserError
from utils.precision import find_precision

# What an optimizer needs where a recipe is made for the other one. Losses are means over positives,
# so gradients are small and SGD wants ten times the rate that it has where they are sums.
USUAL = {
    "adamw": {"learning_rate": Recipe.learning_rate, "weight_decay": Recipe.weight_decay},
    "sgd": {"learning_rate": 1e-1, "weight_decay": 5e-4},
}


@dataclass(frozen=True)
class Preset:
    """A recipe and what goes with it.

    Attributes:
        recipe: of the trainer; its `freeze_share` is for pretrained weights.
        adapt: what becomes of a version's assignment and loss weights.
        own_anchors: whether anchors are clustered from the training boxes, or the published ones.
    """

    recipe: Recipe
    adapt: Callable[[YoloVersion], YoloVersion]
    own_anchors: bool


# Of efficientnet-yolo3-keras and mobilenet-yolov4-keras, as their train.py has it: 300 epochs, 50
# of them frozen; SGD with Nesterov momentum at 1e-2 times 8 / 64, for batches of 8; L2 of 5e-4,
# whose gradient is 1e-3 w and which a momentum of 0.937 makes 16 times as strong; no clipping and
# no average. Theirs besides: 16 images a step while frozen, and warm-up and cosine counted in whole
# epochs.
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

# A detector to try, for a fifth of the default's work at 416: few epochs, most on small images.
_FAST = Recipe(epochs=30, small_share=0.75, small_scale=0.6, validations=5)

_DEFAULT = Recipe(small_share=0.5, small_scale=0.8)

RECIPES = {
    "default": Preset(_DEFAULT, with_neighbours, own_anchors=True),
    "fast": Preset(_FAST, with_neighbours, own_anchors=True),
    "classic": Preset(_CLASSIC, as_predecessors, own_anchors=False),
}


def recipe_from(flags: argparse.Namespace) -> Recipe:
    """The recipe that the flags of train.py name, with what other flags say in its place.

    Raises:
        UserError: flags that do not go together.
    """
    preset = RECIPES[flags.recipe].recipe
    if flags.jit and flags.strategy != "single":
        raise UserError("--jit compiles the step of one device, leave out --jit or --strategy")
    if flags.max_minutes and flags.strategy == "multiworker":
        raise UserError("machines have clocks of their own, give --epochs, not --max-minutes")
    epochs = flags.epochs
    if epochs is None and flags.max_minutes is None:
        epochs = preset.epochs
    freeze_share = preset.freeze_share
    if flags.freeze_epochs is not None:
        if epochs is None:
            raise UserError("--freeze-epochs counts epochs, give --epochs with it")
        if not 0 <= flags.freeze_epochs < epochs:
            raise UserError(f"--freeze-epochs {flags.freeze_epochs} is not within 0..{epochs - 1}")
        freeze_share = flags.freeze_epochs / epochs
    # The learning rate of a limited run falls until the last minute, and with it mAP rises.
    patience = flags.patience or (None if flags.max_minutes else preset.patience)
    if flags.optimizer not in (None, preset.optimizer):
        preset = dataclasses.replace(preset, optimizer=flags.optimizer, **USUAL[flags.optimizer])
    return dataclasses.replace(
        preset,
        epochs=epochs,
        max_minutes=flags.max_minutes,
        freeze_share=freeze_share,
        batch_size=flags.batch_size or preset.batch_size,
        learning_rate=flags.lr or preset.learning_rate,
        patience=patience,
        seed=flags.seed,
        precision=find_precision(flags.precision or preset.precision),
        jit=flags.jit,
        strategy=flags.strategy,
    )
