"""The exponential moving average of the weights, which is validated and saved."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from utils.training.vectors import WeightVector


class MovingAverage:
    """The exponential moving average of weights and batch statistics.

    The average in Keras' optimizers contains only the weights, which then do not match the batch
    statistics. It also starts from the initial weights, which are still 5% of it after 300 steps.

    Attributes:
        averages: One variable per vector.
    """

    def __init__(self, vectors: Sequence[WeightVector], momentum: float) -> None:
        """Starts from the current values.

        Args:
            vectors: The vectors to average.
            momentum: Fraction of the average that is kept in each step. It is smaller in the first
                steps, as in TensorFlow's `ExponentialMovingAverage` with `num_updates`.
        """
        self.averages = [
            keras.Variable(vector.joined.numpy(), name=f"average_{vector.joined.name}")
            for vector in vectors
        ]
        self._vectors = list(vectors)
        self._momentum = momentum

    def update(self, steps: tf.Tensor, moves: tf.Tensor) -> None:
        """Moves the averages towards the vectors.

        Args:
            steps: Scalar int, number of steps of the optimizer so far.
            moves: Scalar bool; if it is false, the averages stay as they are.
        """
        steps = tf.cast(steps, tf.float32)
        rate = tf.maximum(1.0 - self._momentum, 9.0 / (10.0 + steps))
        rate = tf.where(moves, rate, 0.0)
        for average, vector in zip(self.averages, self._vectors, strict=True):
            average.assign_add(rate * (vector.joined - average))

    @contextlib.contextmanager
    def in_place(self, strategy: tf.distribute.Strategy) -> Iterator[None]:
        """Replaces the weights of the network by their averages inside a `with` block."""
        original = [vector.joined.numpy() for vector in self._vectors]
        try:
            self._assign([average.value for average in self.averages], strategy)
            yield
        finally:
            self._assign(original, strategy)

    def _assign(self, values: Sequence, strategy: tf.distribute.Strategy) -> None:
        for vector, value in zip(self._vectors, values, strict=True):
            vector.joined.assign(value)
            vector.scatter(strategy)
