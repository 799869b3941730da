"""The flags of train.py as dataclasses."""

from dataclasses import dataclass
from pathlib import Path

from nets.versions import YoloVersion
from utils.config import Recipe
from utils.data.splits import HELD_OUT


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that defines a new run, before its data are read.

    Attributes:
        backbone: Name or alias of the backbone.
        version: The YOLO version, with the published anchors.
        input_size: Height and width in pixels.
        recipe: How the detector is trained.
        cluster_anchors: Whether the anchors are clustered from the training boxes.
        data: The VOCdevkit.
        width: Width multiplier of the backbone; None for its default.
        weights: `auto`, `imagenet`, `none` or a file, see `utils.weights.loading.open_weights`.
        train_set: Image sets to train on; None for the default split.
        val_set: Image sets to validate on; None for the default split.
        held_out: Fraction of the training images, 0..1, that is held out for validation if there is
            no list of validation images. It is not saved in the run directory, so only runs with
            the default can be resumed.
        classes_file: File with the names of the classes; None for those of the annotations.
        strict: Whether any fault in the data is an error.
        faults_file: File for the full list of faults in the data; None for none.
        freeze_random_backbone: Whether there is a frozen phase even if the weights are random.
        run: The run directory; None for a new one in `logs/`.
    """

    backbone: str
    version: YoloVersion
    input_size: tuple[int, int]
    recipe: Recipe
    cluster_anchors: bool
    data: Path
    width: float | None = None
    weights: str = "auto"
    train_set: str | None = None
    val_set: str | None = None
    held_out: float = HELD_OUT
    classes_file: Path | None = None
    strict: bool = False
    faults_file: Path | None = None
    freeze_random_backbone: bool = False
    run: Path | None = None


@dataclass(frozen=True)
class ResumeSettings:
    """How a run is continued.

    Attributes:
        run: The run directory.
        data: The VOCdevkit if it was moved; None if it was not.
        strict: Whether any fault in the data is an error.
        faults_file: File for the full list of faults in the data; None for none.
        epochs: New number of epochs of the whole run; None for that of the run.
        max_minutes: New wall-clock time of the whole run; None for that of the run.
    """

    run: Path
    data: Path | None = None
    strict: bool = False
    faults_file: Path | None = None
    epochs: int | None = None
    max_minutes: float | None = None

    @property
    def extends(self) -> bool:
        """Whether the run gets new limits."""
        return self.epochs is not None or self.max_minutes is not None
