"""TensorBoard events of a run."""

import os
import sys
from collections.abc import Callable
from typing import Any

import keras

from utils.errors import disk_failure


class Events(keras.callbacks.TensorBoard):
    """Writes TensorBoard events, but a disk that is full does not end the training.

    TensorFlow writes events late, so its errors surface in any later call. Losing curves that
    history.csv also has is better than losing the steps since the last state. The state itself
    still raises.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Initializes the callback with the arguments of `keras.callbacks.TensorBoard`."""
        super().__init__(*args, **options)
        self._has_warned = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the metrics of an epoch."""
        self._try(super().on_epoch_end, epoch, logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes the files."""
        self._try(super().on_train_end, logs)

    def _try(self, write: Callable[..., None], *args: Any) -> None:
        try:
            write(*args)
        except Exception as error:
            number = disk_failure(error)
            if not number:
                raise
            if not self._has_warned:
                print(
                    f"warning: {self.log_dir}: TensorBoard events are lost, "
                    f"{os.strerror(number).lower()}",
                    file=sys.stderr,
                )
            self._has_warned = True
