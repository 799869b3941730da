"""Training sessions: everything that is prepared before a new or resumed run can train."""

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from nets.devices import has_gpu
from nets.versions import YoloVersion
from utils.config import Recipe, RunConfig
from utils.data.anchors import box_sizes
from utils.data.annotation import Sample
from utils.data.classes import read_classes
from utils.errors import UserError
from utils.files import is_in_use
from utils.precision import find_precision, use_precision
from utils.run import RunDirectory
from utils.training.run_data import (
    DataSource,
    RunData,
    describe_anchors,
    read_run_data,
    with_clustered_anchors,
)
from utils.training.settings import TrainingSettings
from utils.training.strategies import STRATEGIES, is_chief
from utils.weights.loading import NONE, Weights, open_weights, resolve_backbone


@dataclass(frozen=True, eq=False)
class Session:
    """A run that is ready to be trained.

    Attributes:
        directory: The run directory.
        config: The config of the run.
        data: Samples and classes.
        strategy: Distribution strategy of the devices.
        weights: Initial weights of a new run; None if the run is resumed.
    """

    directory: RunDirectory
    config: RunConfig
    data: RunData
    strategy: tf.distribute.Strategy
    weights: Weights | None

    @property
    def is_resumed(self) -> bool:
        """Whether the run continues from its state."""
        return self.weights is None


def prepare(settings: TrainingSettings) -> Session:
    """Prepares a new run; nothing is written yet.

    Raises:
        UserError: A setting, the data or the weights cannot be used.
    """
    backbone, width = resolve_backbone(settings.backbone, settings.width)
    weights = open_weights(settings.weights, backbone, width)
    directory = _new_directory(settings, backbone)

    recipe = settings.recipe
    source = DataSource(
        folder=settings.data,
        train_set=settings.train_set,
        val_set=settings.val_set,
        seed=recipe.seed,
        held_out=settings.held_out,
        strict=settings.strict,
        faults_file=settings.faults_file,
    )
    classes = read_classes(settings.classes_file) if settings.classes_file else None
    data = read_run_data(source, classes, settings.version, settings.input_size)
    version = _with_anchors(settings, data.train)

    recipe = dataclasses.replace(recipe, precision=find_precision(recipe.precision))
    strategy = set_up_devices(recipe)
    if not weights.tensors and not settings.freeze_random_backbone:  # may download them
        recipe = dataclasses.replace(recipe, freeze_share=0.0)
    config = RunConfig(
        backbone=backbone,
        width=width,
        convention=weights.convention,
        yolo=version,
        input_size=settings.input_size,
        recipe=recipe,
        data=str(settings.data),
        train_set=settings.train_set,
        val_set=settings.val_set,
        split=data.split,
        images=data.digest,
        weights=weights.source if weights.tensors else NONE,
    )
    return Session(directory, config, data, strategy, weights)


def resume(
    path: Path, folder: Path | None, strict: bool, faults_file: Path | None = None
) -> Session:
    """Prepares a run to continue from its state.

    Args:
        path: The run directory.
        folder: The VOCdevkit if it was moved; None if it was not.
        strict: Whether any fault in the data is an error.
        faults_file: File for the full list of faults in the data; None for none.

    Raises:
        UserError: The run directory is incomplete, or the data are missing or have changed.
    """
    directory = RunDirectory(path)
    config, classes = directory.read_description()
    if not directory.state.is_file():
        raise UserError(f"no {directory.state.name} in {path}, there is nothing to resume")
    if folder:
        config = dataclasses.replace(config, data=str(folder))
    source = DataSource(
        folder=Path(config.data),
        train_set=config.train_set,
        val_set=config.val_set,
        seed=config.recipe.seed,
        strict=strict,
        faults_file=faults_file,
    )
    data = read_run_data(source, classes, config.yolo, config.input_size)
    if data.digest != config.images:
        raise UserError(
            f"the images of {config.data} have changed since {path} was started "
            f"({config.split}; now: {data.split}), restore them or start a new run with "
            f"--weights {directory.best_weights}"
        )
    return Session(directory, config, data, set_up_devices(config.recipe), weights=None)


def set_up_devices(recipe: Recipe) -> tf.distribute.Strategy:
    """Sets the precision of the process and connects its devices.

    Call this before the first computation of TensorFlow. Afterwards, workers can no longer be
    connected, and `fast_float32` has no effect.

    Raises:
        UserError: The batch size is not a multiple of the number of devices.
    """
    use_precision(recipe.precision)
    if recipe.jit and not has_gpu():
        print("warning: --jit makes training on a CPU about five times slower", file=sys.stderr)
    strategy = STRATEGIES[recipe.strategy]()
    devices = strategy.num_replicas_in_sync
    if recipe.batch_size % devices:
        raise UserError(
            f"batch size {recipe.batch_size} cannot be divided among {devices} devices, "
            "use a multiple of their number"
        )
    return strategy


def _new_directory(settings: TrainingSettings, backbone: str) -> RunDirectory:
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{backbone}-{settings.version.name}"
    path = settings.run or Path("logs") / name
    if is_in_use(path) and is_chief(settings.recipe.strategy):
        raise UserError(
            f"{path} is not empty, use a new directory or continue with --resume {path}"
        )
    return RunDirectory(path)


def _with_anchors(settings: TrainingSettings, train: list[Sample]) -> YoloVersion:
    """Returns the version of the settings with the anchors of the run."""
    version, sizes = settings.version, box_sizes(train, settings.input_size)
    print(f"published anchors: {describe_anchors(version, sizes)}", file=sys.stderr)
    if settings.cluster_anchors:
        version = with_clustered_anchors(version, sizes, settings.recipe.seed)
        print(f"clustered anchors: {describe_anchors(version, sizes)}", file=sys.stderr)
    return version
