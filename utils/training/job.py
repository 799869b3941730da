"""The training job: builds the detector of a session, trains it and writes the results."""

import contextlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras

from nets.detector import Detector
from utils.data.dataset import BatchSettings, BatchStream, boxes_needed
from utils.errors import JobError
from utils.files import remove_parts, written_whole
from utils.run import RunDirectory, build_detector
from utils.training.callbacks import Curves, EarlyStopping
from utils.training.epoch_weights import EpochWeights
from utils.training.events import Events
from utils.training.progress import Progress
from utils.training.session import Session
from utils.training.strategies import is_chief
from utils.training.trainer import Trainer
from utils.training.validation import Validation
from utils.weights.loading import load_weights


def train(session: Session, started: float) -> None:
    """Trains the detector of a session and writes a complete run directory.

    Args:
        session: The session, from `prepare` or `resume`.
        started: `time.monotonic()` when the job began.

    Raises:
        UserError: The initial weights or the state do not fit the detector.
        JobError: Steps or weights are not finite, or the time limit leaves no time for a step.
        KeyboardInterrupt: The user or the system requested a stop.
    """
    config, data = session.config, session.data
    recipe, path = config.recipe, session.directory.path
    detector = _build(session)
    with _own_directory(session) as directory:
        settings = BatchSettings(
            config.input_size,
            recipe.batch_size,
            boxes_needed(data.train, recipe.augmentation),
            recipe.augmentation,
            recipe.seed,
        )
        stream = BatchStream(data.train, settings)
        progress = Progress(recipe, stream.steps_per_epoch, started)
        shown = is_chief(recipe.strategy)
        trainer = Trainer(detector, stream, progress, directory.state, session.strategy, shown)
        if session.is_resumed:
            trainer.resume()
            print(f"resuming {path} at step {progress.step}", file=sys.stderr)
        if not progress.step and progress.share >= 1.0:
            raise JobError(
                f"the {recipe.max_minutes:g} minutes passed before the first step, "
                "allow more with --max-minutes"
            )
        directory.result.unlink(missing_ok=True)  # of a run that is extended
        with written_whole(directory.statistics) as (part,):
            part.write_text(data.statistics, encoding="utf-8")
        directory.write_images(data.names)
        directory.describe(config, data.classes)
        name = f"{config.backbone} {config.yolo.name}"
        print(f"training {name}, run directory {path}", file=sys.stderr)
        callbacks = [
            EpochWeights(trainer, data.classes, directory),  # before the state of a new best
            Validation(trainer, data.val, data.classes, directory),
            Curves(progress, directory),
            EarlyStopping(progress),
            Events(directory.path, write_graph=False),
        ]
        try:
            trainer.run(callbacks)
        except KeyboardInterrupt:
            command = f"python train.py --resume {shlex.quote(str(path))}"
            print(f"stopped at step {progress.step}; continue with: {command}", file=sys.stderr)
            raise
        _report(session, progress, directory)


def _build(session: Session) -> Detector:
    """Builds the detector of a session; for a new run, loads the initial weights."""
    keras.utils.set_random_seed(session.config.recipe.seed)
    with session.strategy.scope():
        detector = build_detector(session.config, len(session.data.classes))
        if not session.is_resumed:
            print(load_weights(detector, session.weights).message, file=sys.stderr)
    return detector


@contextlib.contextmanager
def _own_directory(session: Session) -> Iterator[RunDirectory]:
    """Yields the run directory that this process writes to.

    All workers compute the same results. All except the chief write them to a temporary directory.
    """
    directory, state = session.directory, session.state
    if is_chief(session.config.recipe.strategy):
        remove_parts(directory.path)
        if state and state != directory.state:  # the last one is damaged
            state.replace(directory.state)
        yield directory
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder))
        if state:
            shutil.copy(state, directory.state)
        yield directory


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
