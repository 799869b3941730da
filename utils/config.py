"""What a run is made of, as frozen records <-> config.json."""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nets.conventions import Convention
from nets.versions import YoloVersion
from utils.cli import did_you_mean
from utils.data.augment import GENTLE, Augmentation
from utils.errors import UserError
from utils.files import written_whole
from utils.precision import AUTO


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained.

    Attributes:
        epochs: how often every image is seen; None where `max_minutes` alone decides.
        max_minutes: wall clock that the schedule is stretched to; None for no limit.
        freeze_share: share of the run, 0..1, in which the backbone is frozen.
        batch_size: images a step, over all replicas.
        optimizer: `adamw` or `sgd`.
        learning_rate: its peak.
        final_learning_rate: where it ends, as a share of the peak.
        warmup_share: share of the run in which it rises, at the start of either phase.
        weight_decay: decoupled (Loshchilov and Hutter 2019), on kernels of backbone and head alike.
        clip_norm: largest norm of the gradient of all weights together; None for no limit.
        ema_momentum: of the moving average of the weights, which is what is validated and kept; 0
            for the weights themselves.
        mosaic_share: share of the run in which mosaic and mixup are used.
        small_share: share of the run in which images are smaller than the network's input.
        small_scale: how much smaller, as a share of either side.
        validations: how often mAP is measured, evenly over the run.
        patience: epochs without a better mAP after which training stops; None for no stop.
        seed: of weights, data order and augmentation.
        precision: one of `utils.precision.PRECISIONS`; AUTO where nothing is trained yet.
        jit: compile the step with XLA.
        strategy: `single` device, `mirrored` over the GPUs of a machine, or `multiworker`.
        augmentation: how images are varied.
    """

    epochs: float | None = 100
    max_minutes: float | None = None
    freeze_share: float = 0.1
    batch_size: int = 8
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.01
    warmup_share: float = 0.03
    weight_decay: float = 0.05
    clip_norm: float | None = 10.0
    ema_momentum: float = 0.99
    mosaic_share: float = 0.7
    small_share: float = 0.0
    small_scale: float = 0.8
    validations: int = 10
    patience: int | None = 50
    seed: int = 0
    precision: str = AUTO
    jit: bool = False
    strategy: str = "single"
    augmentation: Augmentation = GENTLE


@dataclass(frozen=True)
class RunConfig:
    """Everything needed to build a run's detector, and to know where it came from.

    Attributes:
        backbone: registered name.
        width: its width factor.
        convention: padding, epsilon and pixel scaling of the backbone.
        yolo: the version's record.
        input_size: height and width in pixels.
        recipe: how it is trained.
        data: the VOCdevkit.
        train_set: image sets trained on; None for the default split.
        val_set: image sets validated on; None for the default split.
        split: the split in words.
        images: digest of the names of the images trained on and validated on.
        weights: where the weights started from.
        resize: how an image is fitted into the input at prediction: `letterbox` keeps its aspect,
            `stretch` does not, as some imported detectors expect it.
    """

    backbone: str
    width: float
    convention: Convention
    yolo: YoloVersion
    input_size: tuple[int, int]
    recipe: Recipe
    data: str
    train_set: str | None = None
    val_set: str | None = None
    split: str = ""
    images: str = ""
    weights: str = "none"
    resize: Literal["letterbox", "stretch"] = "letterbox"

    def save(self, path: Path) -> None:
        """Writes the records as JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=2) + "\n"
        with written_whole(path) as (part,):
            part.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "RunConfig":
        """Reads what `save` wrote.

        Raises:
            UserError: the file is missing, damaged, or has a key that no record knows.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"no {path.name} in {path.parent}, name a run directory") from error
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}), restore it or train again") from error
        return _from_json(cls, document, str(path))


def _from_json(kind: Any, value: Any, where: str) -> Any:
    """Builds a record, or a field of one, from what JSON made of it."""
    if not dataclasses.is_dataclass(kind):
        return _field_from_json(kind, value, where)
    if not isinstance(value, dict):
        raise UserError(f"{where} is {value!r}, it must hold the keys of {kind.__name__}")
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            raise UserError(f"unknown key {key!r} in {where}, {did_you_mean(key, hints)}")
    for entry in dataclasses.fields(kind):
        required = entry.default is entry.default_factory is dataclasses.MISSING
        if required and entry.name not in value:
            raise UserError(f"{where} lacks {entry.name!r}, restore it or train again")
    return kind(
        **{key: _from_json(hints[key], item, f"{where}: {key}") for key, item in value.items()}
    )


def _field_from_json(kind: Any, value: Any, where: str) -> Any:
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType and isinstance(value, list):
        (kind,) = (choice for choice in choices if choice is not types.NoneType)
        return _field_from_json(kind, value, where)
    if origin is tuple and isinstance(value, list):
        if choices[-1] is Ellipsis:
            choices = choices[:1] * len(value)
        if len(value) != len(choices):
            raise UserError(f"{where} has {len(value)} numbers, it must have {len(choices)}")
        pairs = zip(choices, value, strict=True)
        return tuple(_field_from_json(choice, item, where) for choice, item in pairs)
    if origin is typing.Literal:
        fits = value in choices
    else:
        options = choices if origin in (types.UnionType, typing.Union) else (kind,)
        numbers = float in options and isinstance(value, int) and not isinstance(value, bool)
        fits = numbers or any(type(value) is option for option in options)
    if not fits:
        raise UserError(f"{where} is {value!r}, it must be {getattr(kind, '__name__', kind)}")
    return value
