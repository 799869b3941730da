"""Callbacks at the end of an epoch: curves and early stopping."""

import keras

from utils.evaluation.plots import draw_history
from utils.run import RunDirectory
from utils.training.progress import TERMS, Progress


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

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Writes what a session that was killed after a validation has not written."""
        if self._progress.history:
            self._write()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the history; after a validation, also plots it."""
        self._write()

    def _write(self) -> None:
        history, directory = self._progress.history, self._directory
        directory.write_history(history)
        if "map50" in history[-1]:
            title = "Loss: training solid, validation dashed"
            draw_history(directory.loss_plot, history, ("loss", *TERMS), title)
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
