"""Training sessions: everything that is prepared before a new run can train."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nets.devices import has_gpu
from nets.versions import YoloVersion
from utils.config import Recipe, RunConfig, Strategy
from utils.data.anchors import box_sizes
from utils.data.classes import read_classes
from utils.data.samples import Samples
from utils.errors import UserError
from utils.files import is_in_use
from utils.precision import find_precision, use_precision
from utils.run import RunDirectory
from utils.training.run_data import (
    DataSource,
    RunData,
    describe_anchors,
    read_run_data,
    require_objects,
    with_clustered_anchors,
)
from utils.training.run_lock import locked
from utils.training.settings import TrainingSettings
from utils.training.strategies import Devices, find_devices, is_chief
from utils.weights.loading import NONE, Weights, open_weights, resolve_backbone


@dataclass(frozen=True, eq=False)
class Session:
    """A run that is ready to be trained.

    Attributes:
        directory: The run directory.
        config: The config of the run.
        data: Samples and classes.
        devices: The devices and processes that train together.
        weights: Initial weights of a run that starts; None if it continues from its state.
        state: The state from which it continues; None if it starts.
    """

    directory: RunDirectory
    config: RunConfig
    data: RunData
    devices: Devices
    weights: Weights | None
    state: Path | None = None

    @property
    def is_resumed(self) -> bool:
        """Whether the run continues from its state."""
        return self.state is not None


@contextlib.contextmanager
def prepare(settings: TrainingSettings) -> Iterator[Session]:
    """Prepares a new run and holds the lock of its directory; nothing else is written yet.

    Raises:
        UserError: A setting, the data, the weights or the run directory cannot be used.
    """
    backbone, width = resolve_backbone(settings.backbone, settings.width)
    weights = open_weights(settings.weights, backbone, width)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{backbone}-{settings.version.name}"
    directory = RunDirectory(settings.run or Path("logs") / name)
    with _new(directory, settings.recipe.strategy):
        yield _prepare(settings, directory, weights, width)


def _prepare(
    settings: TrainingSettings, directory: RunDirectory, weights: Weights, width: float
) -> Session:
    recipe = settings.recipe
    recipe = dataclasses.replace(recipe, precision=find_precision(recipe.precision))
    devices = set_up_devices(recipe)  # first, so that an error in one worker ends the others
    source = DataSource(
        folder=settings.data,
        train_set=settings.train_set,
        val_set=settings.val_set,
        seed=recipe.seed,
        held_out=settings.held_out,
        strict=settings.strict,
        faults_file=settings.faults_file if devices.workers.is_chief else None,
    )
    classes = read_classes(settings.classes_file) if settings.classes_file else None
    data = read_run_data(source, classes, settings.version, settings.input_size)
    require_objects(data, settings.data)
    version = _with_anchors(settings, data.train)

    if not weights.tensors and not settings.freeze_random_backbone:  # may download them
        recipe = dataclasses.replace(recipe, freeze_share=0.0)
    config = RunConfig(
        backbone=weights.backbone,
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
    return Session(directory, config, data, devices, weights)


def set_up_devices(recipe: Recipe) -> Devices:
    """Sets the precision of the process and connects its devices.

    Call this before the first computation of TensorFlow. Afterwards, workers can no longer be
    connected, and `fast_float32` has no effect.

    Raises:
        JobError: A worker does not join, or is lost.
        UserError: The batch size is not a multiple of the number of devices, or TF_CONFIG cannot be
            used.
    """
    use_precision(recipe.precision)
    if recipe.jit and not has_gpu():
        print("warning: --jit makes training on a CPU about five times slower", file=sys.stderr)
    devices = find_devices(recipe.strategy)
    count = devices.strategy.num_replicas_in_sync
    if recipe.batch_size % count:
        raise UserError(
            f"batch size {recipe.batch_size} cannot be divided among {count} devices, "
            "use a multiple of their number"
        )
    return devices


@contextlib.contextmanager
def own(directory: RunDirectory, strategy: Strategy) -> Iterator[bool]:
    """Holds the lock of a run directory if this process writes to it, see `locked`."""
    with locked(directory.path) if is_chief(strategy) else contextlib.nullcontext(False) as killed:
        yield killed


@contextlib.contextmanager
def _new(directory: RunDirectory, strategy: Strategy) -> Iterator[None]:
    """Holds the lock of a directory that has no run yet.

    If no run begins, for example because the disk is full, nothing stays in the directory.

    Raises:
        UserError: The directory is in use.
    """
    path = directory.path
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file, choose another path with --run")
    with own(directory, strategy) as was_killed:
        if is_chief(strategy):
            if was_killed and not directory.is_described:
                directory.remove_unfinished_description()
            if is_in_use(path):
                raise UserError(
                    f"{path} is not empty, use a new directory or continue with --resume {path}"
                )
        try:
            yield
        finally:
            if is_chief(strategy) and not directory.is_described:
                directory.remove_unfinished_description()


def _with_anchors(settings: TrainingSettings, train: Samples) -> YoloVersion:
    """Returns the version of the settings with the anchors of the run."""
    version, sizes = settings.version, box_sizes(train, settings.input_size)
    print(f"published anchors: {describe_anchors(version, sizes)}", file=sys.stderr)
    if settings.cluster_anchors:
        version = with_clustered_anchors(version, sizes, settings.recipe.seed)
        print(f"clustered anchors: {describe_anchors(version, sizes)}", file=sys.stderr)
    return version
