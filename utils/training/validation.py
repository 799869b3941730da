"""Validation at the end of an epoch: mAP, loss, and the best weights."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from utils.data.reading import describe_read_error
from utils.data.samples import Sample
from utils.errors import JobError, UserError
from utils.evaluation.metrics import evaluate
from utils.evaluation.settings import BATCH_SIZE
from utils.run import RunDirectory
from utils.training.schedule import validation_is_due
from utils.training.trainer import Trainer
from utils.training.validation_pass import ValidationPass

SECONDS_TO_START = 1.0  # for the other callbacks and the first batch
SECONDS_TO_FINISH = 3.0  # for curves and result after the last validation
SAMPLE = 4 * BATCH_SIZE  # images of the measurement before a run with a time limit


class Validation(keras.callbacks.Callback):
    """Measures mAP and loss on the validation set and saves the weights with the best mAP.

    It uses the moving average of the weights, after the epochs that `validation_is_due` selects.

    The state is saved before the best weights, so its history contains every validation whose
    weights were saved, and they are never replaced by worse ones. If the process is killed before
    the state is saved, the run resumes from an older one and finds the earlier best weights. If it
    is killed between the two, the resumed run writes the best weights again: the moving average in
    the state is still the one that was validated.

    Workers that train together share out the images. The chief computes mAP and writes the files;
    the others get the same metrics, so that all decide alike.
    """

    def __init__(
        self,
        trainer: Trainer,
        samples: Sequence[Sample],
        classes: Sequence[str],
        directory: RunDirectory,
    ) -> None:
        """Initializes the callback.

        Args:
            trainer: Trainer of the detector.
            samples: The validation set.
            classes: Names of the classes, by label.
            directory: Where the best weights are saved.
        """
        super().__init__()
        self._trainer = trainer
        self._progress = trainer.progress
        self._samples = list(samples)  # metrics go through them many times
        self._classes = classes
        self._directory = directory
        self._workers = trainer.workers
        self._pass = ValidationPass(trainer.detector, samples, trainer.workers)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Completes what a killed session left, and reserves time for the last validation.

        Raises:
            JobError: The time limit leaves no time for training.
        """
        progress = self._progress
        if progress.has_best_weights:
            self._save_best_weights()
        budget = progress.budget
        if budget.limit is None:
            return
        with progress.paused():
            # Traces the graph, which happens once per session, on every worker.
            self._measure(self._samples[: 1 + BATCH_SIZE * (self._workers.count - 1)])
            if budget.validation:  # known from an earlier session
                return
            measured = self._expected_seconds()
        self._set_budget(measured)
        if budget.limit - budget.reserved - progress.seconds < SECONDS_TO_START:
            raise JobError(
                f"preparing took {progress.seconds:.0f} s and validating {len(self._samples)} "
                f"images takes about {measured:.0f} s, so {progress.recipe.max_minutes:g} minutes "
                "leave no time to train: allow more with --max-minutes, or choose a smaller "
                "--val-set"
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Adds mAP and loss of the validation to the metrics of the epoch, if it is due.

        Raises:
            JobError: An image of the validation set cannot be read any more.
        """
        progress, budget = self._progress, self._progress.budget
        last = progress.validated[-1]["measured_at"] if progress.validated else 0.0
        recipe, share = progress.recipe, progress.share_at_end
        if not validation_is_due(recipe, share, last, budget.spent, budget.validation):
            return
        self._workers.update_time()
        started = self._workers.now()
        row = progress.history[-1]
        with progress.paused(), self._trainer.averaged():
            measured = self._measure(self._samples)
        logs.update(measured)
        row.update(measured, measured_at=progress.share)
        self._set_budget(self._workers.now() - started)
        budget.spent += budget.validation
        if progress.best is row:
            with progress.paused():
                self._trainer.save()
                self._save_best_weights()
                self._workers.update_time()
        progress.share_at_end = progress.share  # it may have taken the rest of the time

    def _set_budget(self, measured: float) -> None:
        """Expects that the next validation takes as long as one that was measured."""
        # The state, and the best weights.
        saving = 2 * self._workers.from_chief(self._trainer.seconds_to_save)
        self._progress.budget.validation = measured + saving
        self._progress.reserve(measured + saving + SECONDS_TO_FINISH)

    def _save_best_weights(self) -> None:
        if self._workers.is_chief:
            with self._trainer.averaged():
                self._directory.save_best_weights(self.model, self._classes)

    def _measure(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Returns mAP and loss of the current weights on samples.

        Raises:
            JobError: An image cannot be read any more.
        """
        try:
            found, losses = self._pass.measure(samples)
        except (UserError, OSError) as error:  # all images could be read when the run began
            raise JobError(
                f"validation failed, the state is saved: {describe_read_error(error)}; restore the "
                "image and continue with --resume"
            ) from error
        measured = None
        if self._workers.is_chief:
            metrics = evaluate(samples, found, self._classes).metrics
            losses = {"loss": sum(losses.values()), **losses}
            measured = {
                **{f"val_{name}": value for name, value in losses.items() if math.isfinite(value)},
                "map50": metrics["voc"]["map"] or 0.0,
                "map": metrics["coco"]["map"] or 0.0,
            }
        return self._workers.from_chief(measured)

    def _expected_seconds(self) -> float:
        """Estimates the seconds of a validation from images spread over the set."""
        sample = self._samples[:: max(1, len(self._samples) // SAMPLE)][:SAMPLE]
        started = self._workers.now()
        with self._trainer.averaged():
            self._measure(sample)
        rounds = self._pass.rounds(len(self._samples)) / self._pass.rounds(len(sample))
        return (self._workers.now() - started) * rounds
