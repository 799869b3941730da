"""What happens at the end of an epoch: validation, curves, early stopping."""

import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path

import keras

from utils.data.annotation import Sample
from utils.evaluation.evaluator import predict_samples
from utils.evaluation.metrics import evaluate
from utils.evaluation.plots import draw_history
from utils.files import written_whole
from utils.inference.predictor import Predictor
from utils.training.checkpoint import save_weights
from utils.training.trainer import Trainer

CONFIDENCE, NMS_IOU, MAX_BOXES = 0.001, 0.5, 100  # as get_map.py's
BATCH_SIZE = 8
ROUNDING = 1e-9  # three tenths, in floats, are less than 3 * 0.1
SECONDS_TO_FINISH = 3.0  # weights, curves and result, after the last validation


class Validation(keras.callbacks.Callback):
    """Measures mAP on the validation set and keeps the weights that have the best.

    The weights that are measured, and kept, are the trainer's moving average. They are measured
    at the first end of an epoch in each of `recipe.validations` equal parts of the run but the
    first, and at the end of the run.
    """

    def __init__(
        self, trainer: Trainer, samples: Sequence[Sample], classes: Sequence[str], best_path: Path
    ) -> None:
        """Args:
        trainer: whose detector is measured.
        samples: the validation set.
        classes: names, by label.
        best_path: where the best weights go, a `.weights.h5`.
        """
        super().__init__()
        self._trainer = trainer
        self._samples = samples
        self._classes = classes
        self._best_path = best_path
        self._predictor = Predictor(trainer.detector, CONFIDENCE, NMS_IOU, MAX_BOXES, BATCH_SIZE)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Adds `map50` and `map` to the epoch's figures when it is time to measure them."""
        trainer = self._trainer
        last = trainer.measured[-1]["measured_at"] if trainer.measured else 0.0
        if self._part(trainer.share) == self._part(last) and trainer.share < 1.0:
            return
        started = time.monotonic()
        with trainer.averaged():
            found = predict_samples(self._predictor, self._samples, progress=False)
            scores = evaluate(self._samples, found, self._classes)
            figures = {"map50": scores["voc"]["map"] or 0.0, "map": scores["coco"]["map"] or 0.0}
            logs.update(figures)
            trainer.history[-1].update(figures)
            if trainer.best is trainer.history[-1]:
                save_weights(self.model, self._best_path)
        trainer.history[-1]["measured_at"] = trainer.share
        trainer.reserve(time.monotonic() - started + SECONDS_TO_FINISH)

    def _part(self, share: float) -> int:
        """The part of the run, of as many as there are validations, that a share lies in."""
        return math.floor(share * self._trainer.recipe.validations + ROUNDING)


class Curves(keras.callbacks.Callback):
    """Keeps history.csv and the pictures of loss and mAP up to date."""

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        """Args:
        trainer: whose history is drawn.
        folder: the run directory.
        """
        super().__init__()
        self._trainer = trainer
        self._folder = folder

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the history, and draws it when mAP was measured."""
        history = self._trainer.history
        columns = list(dict.fromkeys(key for row in history for key in row))
        with (
            written_whole(self._folder / "history.csv") as (part,),
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(history)
        if "map50" in history[-1]:
            terms = ("loss", "box", "objectness", "class")
            draw_history(self._folder / "epoch_loss.png", history, terms, "Training loss")
            draw_history(
                self._folder / "epoch_map.png", history, ("map50", "map"), "mAP on validation"
            )


class EarlyStopping(keras.callbacks.Callback):
    """Stops when mAP has not become better for `recipe.patience` epochs and two validations.

    They count from when images have their full size, before which mAP is not what it will be. It
    looks at the history and has no state of its own, so resuming changes nothing.
    """

    def __init__(self, trainer: Trainer) -> None:
        """Args:
        trainer: whose history is looked at.
        """
        super().__init__()
        self._trainer = trainer

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Asks a loop that goes on with a run that was stopped so to stop at once."""
        self.on_epoch_end(self._trainer.epoch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Asks the loop to stop after this epoch."""
        trainer, recipe = self._trainer, self._trainer.recipe
        full = [row for row in trainer.measured if row["measured_at"] >= recipe.small_share]
        if recipe.patience is None or not full:
            return
        best = trainer.best["epoch"]
        later = [row["epoch"] for row in full if row["epoch"] > best]
        if len(later) >= 2 and later[-1] - max(best, full[0]["epoch"]) >= recipe.patience:
            self.model.stop_training = True
