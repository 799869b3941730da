"""Everything that training changes: weights, batch statistics, optimizer and average."""

import contextlib

import keras
import tensorflow as tf

from utils.config import Recipe
from utils.training.average import MovingAverage
from utils.training.optimizer import make_optimizer
from utils.training.vectors import make_statistics, make_vectors


class TrainedWeights:
    """The weights of a detector as vectors, with their optimizer and their moving average.

    Attributes:
        strategy: Strategy under which the weights were created.
        vectors: The trainable weights.
        statistics: The moving means and variances of the batch normalizations.
        optimizer: Optimizer of the vectors.
        average: Moving average of vectors and statistics.
    """

    def __init__(
        self, detector: keras.Model, recipe: Recipe, strategy: tf.distribute.Strategy
    ) -> None:
        """Creates vectors, optimizer and average from the current weights.

        Args:
            detector: Model with a `backbone`, built inside `strategy.scope()`.
            recipe: How to train.
            strategy: Strategy of the detector.
        """
        detector.backbone.trainable = True  # otherwise no vector would contain its weights
        self._model = detector
        self.strategy = strategy
        with strategy.scope():
            self.vectors = make_vectors(detector)
            self.statistics = make_statistics(detector)
            self.optimizer = make_optimizer(recipe, self.vectors)
            self.average = MovingAverage([*self.vectors, self.statistics], recipe.ema_momentum)

    @property
    def variables(self) -> dict[str, list[keras.Variable]]:
        """All variables that the state contains, by owner."""
        return {
            "model": self._model.variables,
            "optimizer": self.optimizer.variables,
            "average": self.average.averages,
        }

    def gather(self) -> None:
        """Copies the current weights and statistics of the network into the vectors."""
        for vector in (*self.vectors, self.statistics):
            vector.gather()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the network has the moving average of its weights."""
        return self.average.in_place(self.strategy)
