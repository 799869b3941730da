"""Continues runs from their directory: from the state, from the start, or beyond the end."""

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path

from utils.config import RunConfig
from utils.errors import UserError
from utils.run import RunDirectory
from utils.training.checkpoint import find_state
from utils.training.extension import extend
from utils.training.run_data import (
    DataSource,
    RunData,
    describe_changes,
    read_run_data,
    require_objects,
)
from utils.training.session import Session, own, set_up_devices
from utils.training.settings import ResumeSettings
from utils.weights.loading import NONE, Weights, open_weights


@contextlib.contextmanager
def resume(settings: ResumeSettings) -> Iterator[Session | None]:
    """Prepares a run to continue and holds the lock of its directory; nothing else is written yet.

    A run without a state, which was killed before its first one was written, begins again.

    Yields:
        The session; None if the run is finished and is not extended.

    Raises:
        UserError: The run directory is incomplete or in use, the data are missing or have changed,
            or the run cannot be extended like this.
    """
    directory = RunDirectory(settings.run)
    config = _read_config(directory)
    with own(directory, config.recipe.strategy):
        config, classes = directory.read_description()  # an earlier holder may have changed it
        if directory.result.is_file() and not settings.extends:
            print(_summary(directory, config))
            yield None
            return
        devices = set_up_devices(config.recipe)  # first, so that an error ends all workers
        state, progress = find_state(directory.state) or (None, {})
        weights = None if state else _initial_weights(directory, config)
        if settings.extends:
            config = dataclasses.replace(config, recipe=extend(config.recipe, progress, settings))
        if settings.data:
            config = dataclasses.replace(config, data=str(settings.data))
        if not devices.workers.is_chief:
            settings = dataclasses.replace(settings, faults_file=None)
        data = _read_data(config, classes, settings)
        yield Session(directory, config, data, devices, weights, state)


def _read_config(directory: RunDirectory) -> RunConfig:
    path, best = directory.path, directory.best_weights
    if path.is_dir() and not directory.is_described:
        if directory.state.is_file() or best.is_file():
            new_run = f"a new run with --weights {best}" if best.is_file() else "a new run"
            raise UserError(f"{path} has no config.json, restore it or start {new_run}")
        raise UserError(
            f"no run has begun in {path}, it has no config.json; start one with --run {path}"
        )
    return directory.read_description()[0]


def _initial_weights(directory: RunDirectory, config: RunConfig) -> Weights:
    """Opens the weights from which a run without a state begins again.

    Raises:
        UserError: The run has been trained, or its initial weights are missing or have changed.
    """
    path, best = directory.path, directory.best_weights
    if best.is_file():
        raise UserError(
            f"{path} has no {directory.state.name}, so it cannot be continued; start a new run "
            f"with --weights {best}"
        )
    try:
        weights = open_weights(config.weights, config.backbone, config.width)
    except UserError as error:
        raise UserError(
            f"{path} was stopped before its first state and must begin again from its initial "
            f"weights, but: {error}; restore them or start a new run"
        ) from error
    if weights.source != NONE and weights.convention != config.convention:
        raise UserError(
            f"{path} was stopped before its first state and must begin again from its initial "
            f"weights, but {config.weights} has changed since; restore it or start a new run"
        )
    return weights


def _read_data(config: RunConfig, classes: list[str], settings: ResumeSettings) -> RunData:
    """Reads the data of a run.

    Raises:
        UserError: They are missing or have changed.
    """
    source = DataSource(
        folder=Path(config.data),
        train_set=config.train_set,
        val_set=config.val_set,
        seed=config.recipe.seed,
        strict=settings.strict,
        faults_file=settings.faults_file,
    )
    directory = RunDirectory(settings.run)
    data = read_run_data(source, classes, config.yolo, config.input_size)
    if data.digest != config.images:
        changes = describe_changes(directory.read_images(), data.names)
        best = directory.best_weights
        new_run = f"a new run with --weights {best}" if best.is_file() else "a new run"
        raise UserError(
            f"the images of {config.data} are not those with which {directory.path} was started: "
            f"{changes}; restore them or start {new_run}"
        )
    require_objects(data, source.folder)
    return data


def _summary(directory: RunDirectory, config: RunConfig) -> str:
    """Returns the result of a finished run, and how to continue it."""
    path, recipe = directory.path, config.recipe
    result = directory.read_result()
    try:
        epochs, minutes = int(result["epochs"]), result["train_seconds"] / 60
        text = (
            f"{path} is finished after epoch {epochs}: best mAP50 on validation "
            f"{result['best_map50']:.4f} (mAP {result['best_map']:.4f}) after epoch "
            f"{result['best_epoch']}, {minutes:.1f} minutes"
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{directory.result} is damaged ({error!r}), remove it") from error
    limits = []
    if recipe.epochs is not None:
        limits.append(f"--epochs N (more than {epochs})")
    if recipe.max_minutes is not None:
        limits.append(f"--max-minutes M (more than {minutes:.1f})")
    command = f"python train.py --resume {shlex.quote(str(path))} {' and '.join(limits)}"
    return f"{text}\nto train it further: {command}"
