"""The training loop: one for a single processor, many GPUs and many machines."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf
from tqdm import tqdm

from nets.detector import Detector
from utils.config import Recipe
from utils.data.dataset import BatchStream
from utils.errors import JobError
from utils.training.checkpoint import load_state, save_state
from utils.training.interrupts import StopRequest
from utils.training.optimizer import TrainedWeights
from utils.training.schedule import image_size, is_frozen, learning_rate, share_done, uses_mosaic
from utils.training.train_step import TrainStep, make_train_step

SECONDS_BETWEEN_STATES = 60.0
TERMS = ("box", "objectness", "class")


class Trainer:
    """Trains a detector by a recipe, step by step, and calls Keras callbacks as `fit` would.

    Attributes:
        detector: the model.
        recipe: how it is trained.
        optimizer: of the weights, the backbone's included, as a few vectors.
        step: complete steps since the run began, over all its sessions.
        history: one row of figures an epoch.
    """

    def __init__(
        self,
        detector: Detector,
        recipe: Recipe,
        stream: BatchStream,
        state_path: Path,
        strategy: tf.distribute.Strategy | None = None,
        started: float | None = None,
        progress: bool = True,
    ) -> None:
        """Builds the optimizer under the strategy that the detector was built under.

        Args:
            detector: built inside `strategy.scope()`.
            recipe: how to train.
            stream: batches of `recipe.batch_size` images.
            state_path: where the state is kept for resuming.
            strategy: TensorFlow's default, a single device, if not given.
            started: `time.monotonic()` when the job began, so that a limit of minutes covers what
                came before training, too.
            progress: show a bar on standard error.
        """
        self.detector = detector
        self.recipe = recipe
        self.step = 0
        self.history: list[dict[str, float]] = []
        self._stream = stream
        self._state_path = state_path
        self._started = time.monotonic() if started is None else started
        self._progress = progress
        self._earlier_seconds = 0.0
        self._reserved_seconds = 0.0
        self._saved = time.monotonic()
        self._pending: tuple[int, dict[str, tf.Tensor]] | None = None
        self._sums = dict.fromkeys((*TERMS, "steps"), 0.0)  # of the epoch under way
        self._timed = {"steps": 0, "seconds": 0.0}
        self._stop = StopRequest()
        self._weights = TrainedWeights(detector, recipe, strategy or tf.distribute.get_strategy())
        self.optimizer = self._weights.optimizer
        detector.optimizer = self.optimizer  # where Keras callbacks look for it

    @property
    def seconds(self) -> float:
        """Wall clock spent on the run, over all its sessions."""
        return self._earlier_seconds + time.monotonic() - self._started

    @property
    def epoch(self) -> int:
        """Number of the epoch under way, from 0."""
        return len(self.history)

    @property
    def share(self) -> float:
        """Share of the run that is done, 0..1."""
        return self._share_at(self.step)

    def _share_at(self, step: int) -> float:
        epochs = step / self._stream.steps_per_epoch
        return share_done(self.recipe, epochs, self.seconds + self._reserved_seconds)

    @property
    def images_per_second(self) -> float:
        """Speed of the steps of the run, tracing and validation left out."""
        timed = self._timed
        images = timed["steps"] * self.recipe.batch_size
        return images / timed["seconds"] if timed["seconds"] else 0.0

    @property
    def measured(self) -> list[dict[str, float]]:
        """The rows of the epochs after which mAP was measured."""
        return [row for row in self.history if "map50" in row]

    @property
    def best(self) -> dict[str, float] | None:
        """The row of the best validation so far, by mAP.

        By mAP50 a few dozen images tell good weights from better ones no more.
        """
        return max(self.measured, key=lambda row: (row["map"], row["map50"]), default=None)

    def reserve(self, seconds: float) -> None:
        """Keeps wall clock for what comes after the last step, such as the last validation."""
        self._reserved_seconds = seconds

    def resume(self) -> None:
        """Takes up the state that an earlier session left, at the share that was done then.

        Raises:
            UserError: there is none, or it does not fit.
        """
        progress = load_state(self._state_path, self._weights.variables)
        self._weights.gather()
        self.step = progress["step"]
        self.history = progress["history"]
        self._earlier_seconds = progress["seconds"]
        self._reserved_seconds = progress["reserved_seconds"]
        self._sums = progress["sums"]
        self._timed = progress["timed"]
        self._started = time.monotonic()

    def run(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Trains until the recipe is done, a callback stops it, or the user does.

        Args:
            callbacks: an `on_epoch_end` may add figures to its `logs`.

        Raises:
            JobError: a loss term is not finite.
            KeyboardInterrupt: the user or the system asked to stop; the state is kept.
        """
        listeners = keras.callbacks.CallbackList(callbacks, model=self.detector)
        self.detector.stop_training = False
        if not self.step:
            self.save()  # however soon it is stopped, there is a state to go on from
        listeners.on_train_begin()
        batches = self._stream.stream(
            self.step,
            lambda step: uses_mosaic(self.recipe, self._share_at(step)),
            lambda step: image_size(self.recipe, self._share_at(step), self.detector.input_size),
        )
        with contextlib.closing(batches), self._stop.listening():
            # A state may have been kept between the last step of an epoch and its end.
            while (self.share < 1.0 or self._sums["steps"]) and not self.detector.stop_training:
                frozen = is_frozen(self.recipe, self.share)
                self.detector.backbone.trainable = not frozen
                train_step = self.make_step()
                self._run_phase(train_step, batches, frozen, listeners)
        self.save()
        listeners.on_train_end()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the detector has the moving average of its weights."""
        return self._weights.averaged()

    def make_step(self) -> TrainStep:
        """A step for the weights that are trainable now, traced at its first call."""
        return make_train_step(self.detector, self._weights, self.recipe)

    def save(self) -> None:
        """Keeps the state for resuming."""
        progress = {
            "step": self.step,
            "seconds": self.seconds,
            "reserved_seconds": self._reserved_seconds,
            "history": self.history,
            "sums": self._sums,
            "timed": self._timed,
        }
        save_state(self._state_path, self._weights.variables, progress)
        self._saved = time.monotonic()

    def _run_phase(
        self,
        train_step: TrainStep,
        batches: Iterator[tuple],
        frozen: bool,
        listeners: keras.callbacks.CallbackList,
    ) -> None:
        """Runs epoch after epoch while the backbone stays as it is."""
        traced = None
        while not self.detector.stop_training:
            epoch = self.epoch
            last = (epoch + 1) * self._stream.steps_per_epoch
            if not self._sums["steps"]:
                listeners.on_epoch_begin(epoch)
            with self._bar(epoch, frozen) as bar:
                while self.step < last and (share := self.share) < 1.0:
                    if is_frozen(self.recipe, share) != frozen:
                        self._account(None, bar)
                        return
                    begun = time.monotonic()
                    self.optimizer.learning_rate = learning_rate(self.recipe, share)
                    step, *arrays = next(batches)
                    self._account((step, train_step(*arrays)), bar)
                    self.step = step + 1
                    if arrays[0].shape == traced:
                        self._timed["steps"] += 1
                        self._timed["seconds"] += time.monotonic() - begun
                    traced = arrays[0].shape
                    self._keep_or_stop(bar)
                self._account(None, bar)
            self._end_epoch(epoch, listeners)
            if self.share >= 1.0:
                return

    def _end_epoch(self, epoch: int, listeners: keras.callbacks.CallbackList) -> None:
        steps = max(1.0, self._sums["steps"])
        logs = {term: self._sums[term] / steps for term in TERMS}
        logs = {"loss": sum(logs.values()), **logs}
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))
        logs["images_per_second"] = self.images_per_second
        self._sums = dict.fromkeys(self._sums, 0.0)
        self.history.append({"epoch": epoch + 1, **logs})
        listeners.on_epoch_end(epoch, logs)

    def _account(self, done: tuple[int, dict[str, tf.Tensor]] | None, bar: tqdm) -> None:
        """Reads the loss of the step before, so that the device is never waited for."""
        pending, self._pending = self._pending, done
        if pending is None:
            return
        step, terms = pending[0], {name: float(value) for name, value in pending[1].items()}
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        if bad:
            images = self._stream.sources(step, uses_mosaic(self.recipe, self._share_at(step)))
            names = ", ".join(str(path) for path in images)
            raise JobError(
                f"the {' and '.join(bad)} loss of step {step} is not finite, in the batch of "
                f"{names}; check these images or lower --lr, {self._state_path} is the last state"
            )
        for name, value in terms.items():
            self._sums[name] += value
        self._sums["steps"] += 1
        bar.update()
        share = max(self.share, 1e-6)
        left = self.seconds * (1 - share) / share
        bar.set_postfix(
            {
                **{name: f"{self._sums[name] / self._sums['steps']:.4f}" for name in terms},
                "img/s": f"{self.images_per_second:.1f}",
                "left": tqdm.format_interval(left),
            },
            refresh=False,
        )

    def _keep_or_stop(self, bar: tqdm) -> None:
        if self._stop.asked:
            self._account(None, bar)
            self.save()
            raise KeyboardInterrupt
        if time.monotonic() - self._saved > SECONDS_BETWEEN_STATES:
            self._account(None, bar)
            self.save()

    def _bar(self, epoch: int, frozen: bool) -> tqdm:
        per_epoch = self._stream.steps_per_epoch
        total = f"/{self.recipe.epochs}" if self.recipe.epochs is not None else ""
        return tqdm(
            desc=f"epoch {epoch + 1}{total}{' frozen' if frozen else ''}",
            total=per_epoch,
            initial=self.step - epoch * per_epoch,
            unit="step",
            disable=not self._progress,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
        )
