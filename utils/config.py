"""The settings of a run as frozen dataclasses."""

from dataclasses import dataclass
from typing import Literal

from nets.choices import check_choices
from nets.conventions import Convention
from nets.versions import YoloVersion
from utils.precision import AUTO, PrecisionFlag

Optimizer = Literal["adamw", "sgd"]
Strategy = Literal["single", "mirrored", "multiworker"]
Resize = Literal["letterbox", "stretch"]


@dataclass(frozen=True)
class Augmentation:
    """How much training images are varied. The defaults are those of the predecessors.

    Attributes:
        jitter: Aspect ratios vary by a factor of up to (1 + jitter) / (1 - jitter).
        scale: Range of the size of an image, relative to the size that fits the input.
        mosaic_scale: The same range for the four images of a mosaic.
        mosaic_centre: Range of the centre of a mosaic, as a fraction of the sides of the input.
        flip: Probability of a horizontal flip.
        hue: Maximum relative change of the hue.
        saturation: Maximum relative change of the saturation.
        value: Maximum relative change of the brightness.
        mosaic: Probability that an image becomes a mosaic of four.
        mixup: Probability that another image is blended into a mosaic.
    """

    jitter: float = 0.3
    scale: tuple[float, float] = (0.25, 2.0)
    mosaic_scale: tuple[float, float] = (0.4, 1.0)
    mosaic_centre: tuple[float, float] = (0.3, 0.7)
    flip: float = 0.5
    hue: float = 0.1
    saturation: float = 0.7
    value: float = 0.4
    mosaic: float = 0.5
    mixup: float = 0.5


# For runs of minutes instead of days, which are too short to learn from objects at a quarter or
# twice their size, or from half-transparent ones.
GENTLE = Augmentation(
    jitter=0.15,
    scale=(0.6, 1.4),
    mosaic_scale=(0.5, 1.0),
    hue=0.02,
    mosaic=0.3,
    mixup=0.1,
)


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained.

    Attributes:
        epochs: Number of passes over the training images; None if only the time is limited.
        max_minutes: Wall-clock time that the run takes; None for no limit. The schedule is
            stretched to this time.
        freeze_share: Fraction of the run, 0..1, during which the backbone is frozen.
        batch_size: Images per step, over all replicas.
        optimizer: `adamw`, or `sgd` with Nesterov momentum.
        learning_rate: Peak learning rate.
        final_learning_rate: Final learning rate as a fraction of the peak.
        warmup_share: Fraction of the run over which the learning rate rises, at the start of each
            phase.
        weight_decay: Decoupled weight decay (Loshchilov and Hutter 2019) of all kernels.
        clip_norm: Maximum norm of the gradient of all weights together; None for no limit.
        ema_momentum: Momentum of the moving average of the weights. The average is validated and
            saved; 0 uses the weights themselves.
        mosaic_share: Fraction of the run during which mosaic and mixup are used.
        small_share: Fraction of the run during which images are smaller than the network's input.
        small_scale: Size of these images as a fraction of each side of the input.
        validations: Number of validations, evenly spaced over the run.
        patience: Number of epochs without a better mAP after which training stops; None for never.
        patience_from: Epoch from which patience is counted: the one at which the run was extended.
        save_every: Number of epochs after which the weights are saved again, each time in a new
            file; None for never.
        save_minutes: Minutes after which the state for resuming is saved again.
        seed: Seed of weights, data order and augmentation.
        precision: Numeric precision, see `utils.precision`; `auto` is resolved before training.
        jit: Whether the step is compiled by XLA.
        strategy: `single` device, `mirrored` over the GPUs of one machine, or `multiworker`.
        augmentation: How training images are varied.

    Raises:
        ValueError: A field has an unknown value or is out of range, or the run has no limit.
    """

    epochs: float | None = 100
    max_minutes: float | None = None
    freeze_share: float = 0.1
    batch_size: int = 8
    optimizer: Optimizer = "adamw"
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
    patience_from: int = 0
    save_every: int | None = None
    save_minutes: float = 1.0
    seed: int = 0
    precision: PrecisionFlag = AUTO
    jit: bool = False
    strategy: Strategy = "single"
    augmentation: Augmentation = GENTLE

    def __post_init__(self) -> None:
        check_choices(self)
        positive = ("epochs", "max_minutes", "batch_size", "learning_rate", "save_every")
        for name in (*positive, "save_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:  # also NaN
                raise ValueError(f"{name} is {value}; it must be greater than 0")
        for name in ("freeze_share", "warmup_share", "mosaic_share", "small_share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it must be within 0..1")
        if self.epochs is None and self.max_minutes is None:
            raise ValueError("epochs and max_minutes are both null; set one of them")


@dataclass(frozen=True)
class RunConfig:
    """Everything that is needed to build the detector of a run, and how it was trained.

    Attributes:
        backbone: Registered name of the backbone.
        width: Width multiplier of the backbone.
        convention: Padding, epsilon and pixel scaling that the weights assume.
        yolo: The YOLO version, with the anchors of the run.
        input_size: Height and width in pixels.
        recipe: How the detector is trained.
        data: The VOCdevkit.
        train_set: Image sets to train on; None for the default split.
        val_set: Image sets to validate on; None for the default split.
        split: Description of the split, to be shown to the user.
        images: Digest of the names of the training and validation images.
        weights: What the weights were initialized from.
        resize: How an image is fitted into the input at prediction: `letterbox` keeps its aspect
            ratio, `stretch` does not, which some imported detectors expect.

    Raises:
        ValueError: A field has an unknown value.
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
    resize: Resize = "letterbox"

    def __post_init__(self) -> None:
        check_choices(self)
