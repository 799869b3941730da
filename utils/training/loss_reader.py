"""Reads losses without waiting for the device."""

from collections.abc import Callable, Mapping

import tensorflow as tf


class LossReader:
    """Reads the losses of each step after the next step has started.

    The device therefore always has work, and the host does not wait for the step that it has just
    started.
    """

    def __init__(self, receive: Callable[[int, dict[str, float]], None]) -> None:
        """Initializes the reader.

        Args:
            receive: Called with the number of each step and its values, in order.
        """
        self._receive = receive
        self._pending: tuple[int, Mapping[str, tf.Tensor]] | None = None

    def put(self, step: int, terms: Mapping[str, tf.Tensor]) -> None:
        """Stores the loss terms of a step that has just started, and reads the previous ones."""
        self.flush()
        self._pending = (step, terms)

    def flush(self) -> None:
        """Waits until the last step is done, and reads its loss terms."""
        if self._pending is not None:
            step, terms = self._pending
            self._pending = None
            self._receive(step, {name: float(value) for name, value in terms.items()})
