"""The recipes that `--recipe` names: how a detector is trained unless other flags say otherwise."""

from collections.abc import Callable
from dataclasses import dataclass

from nets.versions import YoloVersion, as_predecessors, with_neighbours
from utils.augment import Augmentation
from utils.config import Recipe


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
