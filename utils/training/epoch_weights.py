"""Saves the weights of every Nth epoch in a file of their own."""

from collections.abc import Sequence

import keras

from utils.run import RunDirectory
from utils.training.trainer import Trainer
from utils.weights_file import header_of, save_detector


class EpochWeights(keras.callbacks.Callback):
    """Saves the moving average of the weights after every `recipe.save_every` epochs."""

    def __init__(self, trainer: Trainer, classes: Sequence[str], directory: RunDirectory) -> None:
        """Initializes the callback.

        Args:
            trainer: Trainer of the detector.
            classes: Names of the classes, by label.
            directory: Where the weights are saved.
        """
        super().__init__()
        self._trainer = trainer
        self._classes = classes
        self._directory = directory

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Saves the weights if this epoch, counted from 0, is one of those to be saved."""
        every = self._trainer.recipe.save_every
        if every is not None and (epoch + 1) % every == 0:
            path = self._directory.epoch_weights(epoch + 1)
            with self._trainer.averaged():
                save_detector(path, self.model, header_of(self.model, self._classes))
