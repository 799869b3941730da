"""The training job: builds the detector of a session, trains it and writes the results."""

import dataclasses
import shlex
import sys
from typing import Any

import keras

from nets.detector import Detector
from nets.devices import has_gpu
from utils.cores import logical_cores
from utils.data.dataset import BatchSettings, BatchStream, boxes_needed
from utils.errors import JobError, UserError
from utils.files import remove_parts, written_whole
from utils.run import RunDirectory, build_detector
from utils.training.callbacks import Curves, EarlyStopping
from utils.training.collectives import together
from utils.training.epoch_weights import EpochWeights
from utils.training.events import Events
from utils.training.progress import Progress
from utils.training.session import Session
from utils.training.trainer import Trainer
from utils.training.validation import Validation
from utils.weights.loading import load_weights

CORES_FOR_THREADS = 4  # on more cores, processes are faster than threads
MAX_PROCESSES = 16  # they prepare 1,800 images of 416x416 per second, see docs/speed.md


def train(session: Session, started: float) -> None:
    """Trains the detector of a session and writes a complete run directory.

    Args:
        session: The session, from `prepare` or `resume`.
        started: `time.monotonic()` when the job began.

    Raises:
        UserError: The initial weights or the state do not fit the detector, or the files of the
            run contradict each other.
        JobError: Steps or weights are not finite, the time limit leaves no time for a step, or
            another worker was lost.
        KeyboardInterrupt: The user or the system requested a stop.
    """
    with together(session.devices.workers):
        _train(session, started)


def _train(session: Session, started: float) -> None:
    config, data, directory = session.config, session.data, session.directory
    recipe, path, workers = config.recipe, directory.path, session.devices.workers
    workers.require_same(_what_must_be_equal(session))
    detector = _build(session)
    trainer = _make_trainer(session, detector, workers.from_chief(started))
    progress = trainer.progress
    if session.is_resumed:
        _restore(session, trainer)
        print(f"resuming {path} at step {progress.step}", file=sys.stderr)
    if not progress.step and progress.share >= 1.0:
        raise JobError(
            f"the {recipe.max_minutes:g} minutes passed before the first step, "
            "allow more with --max-minutes"
        )
    callbacks = [Validation(trainer, data.val, data.classes, directory), EarlyStopping(progress)]
    if workers.is_chief:
        remove_parts(path)
        directory.result.unlink(missing_ok=True)  # of a run that is extended
        with written_whole(directory.statistics) as (part,):
            part.write_text(data.statistics, encoding="utf-8")
        directory.write_images(data.names)
        directory.describe(config, data.classes)
        validation, early_stopping = callbacks
        callbacks = [
            EpochWeights(trainer, data.classes, directory),  # before the state of a new best
            validation,
            Curves(progress, directory),
            early_stopping,
            Events(path, write_graph=False),
        ]
    name = f"{config.backbone} {config.yolo.name}"
    print(f"training {name}, run directory {path}", file=sys.stderr)
    try:
        trainer.run(callbacks)
    except KeyboardInterrupt:
        command = f"python train.py --resume {shlex.quote(str(path))}"
        print(f"stopped at step {progress.step}; continue with: {command}", file=sys.stderr)
        raise
    if workers.is_chief:
        _report(session, progress, directory)


def _what_must_be_equal(session: Session) -> dict[str, Any]:
    """Returns what all workers must have in common, by what it is for the user."""
    settings = dataclasses.asdict(session.config)
    recipe = settings.pop("recipe")
    del settings["data"]  # a path, which may differ
    begins = None if session.state is None else session.state.name
    return {**recipe, **settings, "classes": session.data.classes, "state": begins}


def _make_trainer(session: Session, detector: Detector, started: float) -> Trainer:
    config, data, workers = session.config, session.data, session.devices.workers
    recipe = config.recipe
    settings = BatchSettings(
        config.input_size,
        recipe.batch_size,
        boxes_needed(data.train, recipe.augmentation),
        recipe.augmentation,
        recipe.seed,
    )
    rows = workers.rows(recipe.batch_size)
    stream = BatchStream(data.train, settings, processes=find_processes(), rows=rows)
    progress = Progress(recipe, stream.steps_per_epoch, started, workers.now)
    return Trainer(
        detector, stream, progress, session.directory.state, session.devices, workers.is_chief
    )


def find_processes() -> int:
    """Returns the number of processes that draw the images of training; 0 for threads.

    Threads keep up with a processor. A GPU would wait for them: more than four are hardly faster
    than four, since each needs Python's lock for a part of the time.
    """
    cores = logical_cores()
    return min(cores, MAX_PROCESSES) if has_gpu() and cores > CORES_FOR_THREADS else 0


def _restore(session: Session, trainer: Trainer) -> None:
    """Restores the state, which all workers read and only the chief moves."""
    state, directory, workers = session.state, session.directory, session.devices.workers
    if workers.is_chief and state != directory.state:  # the last one is damaged
        state.replace(directory.state)
    workers.update_time()  # waits until it is moved
    trainer.resume()
    progress, best = trainer.progress, directory.best_weights
    workers.require_same({"step": progress.step})
    if progress.best and not progress.has_best_weights and not best.is_file():
        raise UserError(
            f"{best} is missing, with the weights after epoch {progress.best['epoch']}: restore it "
            "or start a new run"
        )


def _build(session: Session) -> Detector:
    """Builds the detector of a session; for a new run, loads the initial weights."""
    keras.utils.set_random_seed(session.config.recipe.seed)
    with session.devices.strategy.scope():
        detector = build_detector(session.config, len(session.data.classes))
        if session.is_resumed:
            session.directory.check_weights(detector, session.data.classes)
        else:
            report = load_weights(detector, session.weights, session.data.classes)
            print(report.message, file=sys.stderr)
    return detector


def _report(session: Session, progress: Progress, directory: RunDirectory) -> None:
    best, config = progress.best, session.config
    directory.write_result(
        {
            "backbone": config.backbone,
            "yolo": config.yolo.name,
            "epochs": progress.epoch,
            "skipped_steps": progress.skipped_steps,
            "images_per_second": progress.images_per_second,
            "train_seconds": progress.seconds,
            "best_map50": best["map50"],
            "best_map": best["map"],
            "best_epoch": best["epoch"],
        }
    )
    print(
        f"best mAP50 on validation {best['map50']:.4f} (mAP {best['map']:.4f}) after epoch "
        f"{best['epoch']}, {progress.seconds / 60:.1f} minutes"
    )
    print(f"weights, curves and config: {session.directory.path}")
