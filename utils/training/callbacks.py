"""Callbacks at the end of an epoch: validation, curves and early stopping."""

import math
import time
from collections.abc import Sequence

import keras

from utils.data.annotation import Sample
from utils.data.reading import describe_read_error
from utils.errors import JobError, UserError
from utils.evaluation.evaluator import predict_samples
from utils.evaluation.metrics import evaluate
from utils.evaluation.plots import draw_history
from utils.evaluation.settings import BATCH_SIZE, THRESHOLDS
from utils.inference.detections import Detections
from utils.inference.predictor import Predictor
from utils.run import RunDirectory
from utils.training.progress import TERMS, Progress
from utils.training.trainer import Trainer

ROUNDING = 1e-9  # shares are floats: a computed 0.3 can be less than 3 * 0.1
SECONDS_TO_FINISH = 3.0  # for weights, curves and result after the last validation


class Validation(keras.callbacks.Callback):
    """Measures mAP on the validation set and saves the weights with the best one.

    It uses the moving average of the weights. The run is divided into `recipe.validations` equal
    parts. In each part except the first, validation takes place after the first epoch that ends in
    this part. The last validation is at the end of the run.
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
        self._samples = samples
        self._classes = classes
        self._directory = directory
        self._predictor = Predictor(trainer.detector, THRESHOLDS, BATCH_SIZE)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Adds `map50` and `map` to the metrics of the epoch if a validation is due.

        Raises:
            JobError: An image of the validation set cannot be read any more.
        """
        progress = self._trainer.progress
        last = progress.validated[-1]["measured_at"] if progress.validated else 0.0
        if self._part(progress.share) == self._part(last) and progress.share < 1.0:
            return
        started = time.monotonic()
        row = progress.history[-1]
        with self._trainer.averaged():
            found = self._predict()
            metrics = evaluate(self._samples, found, self._classes).metrics
            scores = {"map50": metrics["voc"]["map"] or 0.0, "map": metrics["coco"]["map"] or 0.0}
            logs.update(scores)
            row.update(scores)
            if progress.best is row:
                self._directory.save_best_weights(self.model, self._classes)
        row["measured_at"] = progress.share
        progress.reserve(time.monotonic() - started + SECONDS_TO_FINISH)

    def _predict(self) -> list[Detections]:
        try:
            return predict_samples(self._predictor, self._samples, progress=False)
        except (UserError, OSError) as error:  # all images could be read when the run began
            raise JobError(
                f"validation failed, the state is saved: {describe_read_error(error)}; restore the "
                "image and continue with --resume"
            ) from error

    def _part(self, share: float) -> int:
        """Returns the number of the part of the run that contains a share."""
        return math.floor(share * self._trainer.recipe.validations + ROUNDING)


class Curves(keras.callbacks.Callback):
    """Keeps history.csv and the plots of loss and mAP up to date."""

    def __init__(self, progress: Progress, directory: RunDirectory) -> None:
        """Initializes the callback.

        Args:
            progress: Progress with the history.
            directory: The run directory.
        """
        super().__init__()
        self._progress = progress
        self._directory = directory

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the history; after a validation, also plots it."""
        history, directory = self._progress.history, self._directory
        directory.write_history(history)
        if "map50" in history[-1]:
            draw_history(directory.loss_plot, history, ("loss", *TERMS), "Training loss")
            draw_history(directory.map_plot, history, ("map50", "map"), "mAP on validation")


class EarlyStopping(keras.callbacks.Callback):
    """Stops training if mAP has not improved for `recipe.patience` epochs and two validations.

    Both are counted from the first validation after training on images of full size, because mAP
    is lower before. The callback has no state of its own but reads the history, so resuming a run
    does not change when it stops.
    """

    def __init__(self, progress: Progress) -> None:
        """Initializes the callback.

        Args:
            progress: Progress with the history.
        """
        super().__init__()
        self._progress = progress

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Stops immediately if the resumed run had already stopped early."""
        self._stop_if_due()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stops after this epoch if the patience is exhausted."""
        self._stop_if_due()

    def _stop_if_due(self) -> None:
        progress, recipe = self._progress, self._progress.recipe
        full_size = [r for r in progress.validated if r["measured_at"] >= recipe.small_share]
        if recipe.patience is None or not full_size:
            return
        best = max(progress.best["epoch"], recipe.patience_from)
        later = [row["epoch"] for row in full_size if row["epoch"] > best]
        if len(later) >= 2 and later[-1] - max(best, full_size[0]["epoch"]) >= recipe.patience:
            self.model.stop_training = True
