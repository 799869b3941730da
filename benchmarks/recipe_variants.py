"""The variants of the recipe that `benchmarks.recipe_search` compares, each with one change."""

import dataclasses
from collections.abc import Callable

from nets.versions import VERSIONS, YoloVersion, with_iou_objectness
from utils.config import Augmentation
from utils.training.recipes import OPTIMIZER_DEFAULTS, RECIPES, Preset

DEFAULT = "default"

Change = Callable[[Preset], Preset]


def recipe(**changes: object) -> Change:
    """Returns a change of the recipe."""
    return lambda preset: dataclasses.replace(
        preset, recipe=dataclasses.replace(preset.recipe, **changes)
    )


def augmentation(**changes: object) -> Change:
    """Returns a change of the augmentation."""

    def change(preset: Preset) -> Preset:
        changed = dataclasses.replace(preset.recipe.augmentation, **changes)
        return recipe(augmentation=changed)(preset)

    return change


def version(**changes: object) -> Change:
    """Returns a change of the YOLO version, in addition to that of the preset."""
    return lambda preset: dataclasses.replace(
        preset, adapt=lambda base: dataclasses.replace(preset.adapt(base), **changes)
    )


def published_anchors(preset: Preset) -> Preset:
    """Returns a preset with the published anchors."""
    return dataclasses.replace(preset, cluster_anchors=False)


# v4-lite as a change of v4.
LITE = {
    field.name: getattr(VERSIONS["v4-lite"], field.name)
    for field in dataclasses.fields(YoloVersion)
    if getattr(VERSIONS["v4-lite"], field.name) != getattr(VERSIONS["v4"], field.name)
}

VARIANTS: dict[str, Change] = {
    DEFAULT: lambda preset: preset,
    "fast": lambda _: RECIPES["fast"],
    "classic": lambda _: RECIPES["classic"],
    "no frozen phase": recipe(freeze_share=0.0),
    "backbone frozen for 0.2 of the run": recipe(freeze_share=0.2),
    "learning rate 5e-4": recipe(learning_rate=5e-4),
    "learning rate 2e-3": recipe(learning_rate=2e-3),
    "constant image size": recipe(small_share=0.0),
    "float32": recipe(precision="float32"),
    "batch 4": recipe(batch_size=4),
    "batch 16": recipe(batch_size=16),
    "SGD 0.01": recipe(optimizer="sgd", learning_rate=1e-2, weight_decay=5e-4),
    "SGD 0.1": recipe(optimizer="sgd", **OPTIMIZER_DEFAULTS["sgd"]),
    "weight decay 0.01": recipe(weight_decay=0.01),
    "no moving average": recipe(ema_momentum=0.0),
    "no mosaic": augmentation(mosaic=0.0),
    "mosaic 0.6": augmentation(mosaic=0.6),
    "mosaic to the end": recipe(mosaic_share=1.0),
    "mosaic for half of the run": recipe(mosaic_share=0.5),
    "strong augmentation": recipe(augmentation=Augmentation()),
    "published anchors": published_anchors,
    "published anchors, class weight 8": lambda preset: published_anchors(
        version(class_weight=8.0)(preset)
    ),
    "one cell per object": lambda preset: dataclasses.replace(preset, adapt=with_iou_objectness),
    "match IoU 0.1": version(match_iou=0.1),
    "match IoU 0.4": version(match_iou=0.4),
    "best anchor only": version(match_iou=1.0),
    "box weight 0.05": version(box_weight=0.05),
    "box weight 0.2": version(box_weight=0.2),
    "box weight 0.4": version(box_weight=0.4),
    "objectness weight 0.5": version(objectness_weight=0.5),
    "objectness weight 2": version(objectness_weight=2.0),
    "objectness of 1": version(iou_objectness=False),
    "class weight 2": version(class_weight=2.0),
    "class weight 8": version(class_weight=8.0),
    "neck of 64, 128, 256": version(neck_channels=(64, 128, 256)),
    "neck of 48, 96, 192": version(neck_channels=(48, 96, 192)),
    "neck of 96": version(neck_channels=(96, 96, 96)),
    "neck of 96, 5x5": version(neck_channels=(96, 96, 96), kernel_size=5),
    "v4-lite": version(**LITE),
    "v4-lite, as long as v4": version(**LITE),
    "v4-lite, objectness of 1": version(**LITE, iou_objectness=False),
    "v4-lite, 3x3": version(**LITE | {"kernel_size": 3}),
    "v4-lite, neck width 2/3": version(**LITE, neck_width=2 / 3),
    "v4-lite, neck width 4/3": version(**LITE, neck_width=4 / 3),
    "v4-lite, head of 96": version(**LITE | {"head_expansion": 1}),
    "v4-lite, head of 384": version(**LITE | {"head_expansion": 4}),
    "v4-lite, learning rate 1e-3": version(**LITE | {"learning_rate_scale": 1.0}),
    "v4-lite, learning rate 2e-3": version(**LITE | {"learning_rate_scale": 2.0}),
    "v4-lite, learning rate 8e-3": version(**LITE | {"learning_rate_scale": 8.0}),
    "v4-lite, head of 96, learning rate 8e-3": version(
        **LITE | {"head_expansion": 1, "learning_rate_scale": 8.0}
    ),
}

# Time of a training step relative to the default's, from benchmarks/version_speed.py, of variants
# that are compared after equal times instead of equal numbers of images.
STEP_COSTS = {"v4-lite, as long as v4": 0.6}
