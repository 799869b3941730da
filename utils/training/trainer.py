"""The training loop, which is the same for one device, several GPUs and several machines."""

import contextlib
import copy
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import keras

from nets.detector import Detector
from utils.data.dataset import BatchStream, most_objects, trimmed
from utils.errors import JobError
from utils.interrupts import StopRequest
from utils.training.checkpoint import collect_state, load_state
from utils.training.display import Display
from utils.training.guard import StepGuard
from utils.training.loss_reader import LossReader
from utils.training.progress import OPTIONAL, Progress
from utils.training.schedule import is_frozen, learning_rate, training_size, uses_mosaic
from utils.training.state_writer import StateWriter
from utils.training.strategies import Devices
from utils.training.train_step import TrainStep, make_train_step
from utils.training.trained_weights import TrainedWeights


@dataclass
class Phase:
    """A part of the run in which the same weights are trained on images of one size.

    Attributes:
        frozen: Whether the backbone is frozen.
        image_size: Height and width of the images.
        train_step: The step for the weights that are trained.
        shapes: Shapes of the boxes for which the step is already traced.
    """

    frozen: bool
    image_size: tuple[int, int]
    train_step: TrainStep
    shapes: set[tuple] = field(default_factory=set)


class Trainer:
    """Trains a detector step by step, and calls Keras callbacks as `fit` does.

    Attributes:
        detector: The detector.
        progress: The progress of the run.
        recipe: How the detector is trained.
        optimizer: Optimizer of all weights, which it updates as a few vectors.
        workers: The processes that train together. Only the chief saves states.
        seconds_to_save: How long training waited for the state to be saved the last time.
    """

    def __init__(
        self,
        detector: Detector,
        stream: BatchStream,
        progress: Progress,
        state_path: Path,
        devices: Devices | None = None,
        show_progress: bool = True,
    ) -> None:
        """Creates the optimizer under the strategy of the detector.

        Args:
            detector: The detector, built inside `strategy.scope()`.
            stream: Batches of `progress.recipe.batch_size` images, or the part of this process.
            progress: Progress of the run, with its recipe.
            state_path: File that holds the state for resuming.
            devices: Devices to train on; None for TensorFlow's default, a single device.
            show_progress: Whether to show the progress on standard error.
        """
        self.detector = detector
        self.progress = progress
        self.recipe = progress.recipe
        self._stream = stream
        self._state_path = state_path
        self._writer = StateWriter(state_path)
        self._display = Display(progress, show_progress)
        self._saved = time.monotonic()
        self._stop = StopRequest()
        self._guard = StepGuard(progress, self._sources, state_path)
        self._phase: Phase | None = None
        devices = devices or Devices()
        self.workers = devices.workers
        self._weights = TrainedWeights(detector, self.recipe, devices.strategy)
        self.optimizer = self._weights.optimizer
        self.seconds_to_save = 0.0
        detector.optimizer = self.optimizer  # where Keras callbacks look for it

    def resume(self) -> None:
        """Restores the state of an earlier session.

        Raises:
            UserError: There is no state, or it does not fit the detector.
        """
        like = {key: value for key, value in self.progress.to_json().items() if key not in OPTIONAL}
        progress = load_state(self._state_path, self._weights.variables, like)
        self._weights.gather()
        self.progress.restore(progress)

    def run(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Trains until the recipe is complete, or until a callback or the user stops the run.

        Args:
            callbacks: Callbacks; their `on_epoch_end` may add metrics to `logs`.

        Raises:
            JobError: Several steps in a row were not finite, too many images have become
                unreadable, or a callback failed; in the last case the state was saved.
            KeyboardInterrupt: The user or the system requested a stop; the state was saved.
        """
        progress = self.progress
        listeners = keras.callbacks.CallbackList(callbacks, model=self.detector)
        self.detector.stop_training = False
        self._phase = None
        if not progress.step:
            self.workers.update_time()
            progress.budget.continue_from(0.0, progress.seconds)  # preparing is not training
            self.save()  # so that a run that is stopped early can be resumed
        listeners.on_train_begin()
        with self._writer, contextlib.closing(self._batches()) as batches, self._stop.listening():
            while not (progress.is_complete or self.detector.stop_training):
                epoch = progress.epoch
                if not progress.epoch_has_begun:
                    listeners.on_epoch_begin(epoch)
                self._train_epoch(batches)
                self._end_epoch(epoch, listeners)
        self.save()
        listeners.on_train_end()

    def _train_epoch(self, batches: Iterator[tuple]) -> None:
        """Runs the remaining steps of the current epoch, or of the run if it ends earlier."""
        progress = self.progress
        losses = LossReader(self._receive)
        with self._display.epoch():
            while progress.steps_left and (share := progress.share) < 1.0:
                started = time.monotonic()
                self.optimizer.learning_rate = learning_rate(self.recipe, share)
                step, *batch = next(batches)
                phase = self._enter_phase(share, batch[0].shape[1:3], losses)
                objects = self.workers.agree(self._stop.is_set, most_objects(batch))
                batch = trimmed(batch, objects)
                losses.put(step, phase.train_step(*batch))
                progress.step = step + 1
                shape = batch[1].shape
                if shape in phase.shapes:  # otherwise the step included tracing
                    progress.add_timing(time.monotonic() - started)
                phase.shapes.add(shape)
                self._save_or_stop(losses)
            losses.flush()

    def _end_epoch(self, epoch: int, listeners: keras.callbacks.CallbackList) -> None:
        """Calls the callbacks; if one fails, saves a state with which they are called again."""
        rate = float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))
        before = copy.deepcopy(self.progress.to_json())
        try:
            listeners.on_epoch_end(epoch, self.progress.end_epoch(rate))
        except JobError:
            self.progress.restore(before)
            self.save()
            raise
        self._display.end_epoch()

    def _enter_phase(self, share: float, image_size: tuple[int, int], losses: LossReader) -> Phase:
        """Returns the current phase; a new one has a new step, and the last one is freed."""
        frozen = is_frozen(self.recipe, share)
        current = self._phase and (self._phase.frozen, self._phase.image_size)
        if current != (frozen, image_size):
            losses.flush()
            self.detector.backbone.trainable = not frozen
            self._phase = Phase(frozen, image_size, self.make_step())
            gc.collect()  # a traced step is full of reference cycles, and has 50 MiB and more
        return self._phase

    def _receive(self, step: int, values: dict[str, float]) -> None:
        warning = self._guard.receive(step, values)
        if warning:
            self._display.write(warning)
        self._display.advance()

    def _sources(self, step: int) -> list[Path]:
        """Returns the image files of a step."""
        return self._stream.sources(step, self._uses_mosaic(step))

    def _save_or_stop(self, losses: LossReader) -> None:
        """Saves the state at regular intervals and before a requested stop."""
        stop = self.workers.stops(self._stop.is_set)
        if stop or time.monotonic() - self._saved >= 60 * self.recipe.save_minutes:
            losses.flush()
            self._begin_to_save()
        if stop:
            self._writer.wait()
            raise KeyboardInterrupt

    def save(self) -> None:
        """Saves the state for resuming, if this process is the chief.

        Raises:
            JobError: A value is not finite; the last state is kept.
            OSError: The state cannot be written; the last one is kept.
        """
        started = time.monotonic()
        self._begin_to_save()
        self._writer.wait()
        self.seconds_to_save = time.monotonic() - started

    def _begin_to_save(self) -> None:
        if self.workers.is_chief:
            variables, progress = self._weights.variables, self.progress.to_json()
            self._writer.put(collect_state(self._state_path, variables, progress))
        self._saved = time.monotonic()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the detector has the moving average of its weights."""
        return self._weights.averaged()

    def make_step(self) -> TrainStep:
        """Makes a step for the weights that are trainable now; it is traced at its first call."""
        return make_train_step(self.detector, self._weights, self.recipe)

    def _batches(self) -> Iterator[tuple]:
        return self._stream.padded(self.progress.step, self._uses_mosaic, self._size)

    def _uses_mosaic(self, step: int) -> bool:
        return uses_mosaic(self.recipe, self.progress.share_at(step))

    def _size(self, step: int) -> tuple[int, int]:
        share = self.progress.share_at(step)
        return training_size(self.recipe, share, self.detector.input_size)
