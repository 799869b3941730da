"""The optimizer, which sees the weights of a network as a few long vectors.

A network of hundreds of small weights would have it run hundreds of times a dozen operations: on a
CPU they cost as much as the convolutions of a small network, and tracing them longer than all else
of the first step. Four vectors have the same arithmetic in fifty operations, whatever the network.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from utils.config import Recipe

NOT_DECAYED = ("gamma", "beta", "bias")  # weight decay belongs to kernels
SGD_MOMENTUM = 0.937  # YOLOv3's and v4's of 0.9 to 0.949, the predecessors' default


class WeightVector:
    """Weights laid end to end: what the optimizer updates in their place.

    Attributes:
        weights: the weights, in order.
        joined: their values as one variable; `scatter` gives them back to the weights.
    """

    def __init__(self, weights: Sequence[keras.Variable], name: str) -> None:
        """Args:
        weights: of one kind: all are trained and decayed at the same time, or none is.
        name: of the variable.
        """
        self.weights = list(weights)
        values = np.concatenate([weight.numpy().ravel() for weight in self.weights])
        self.joined = keras.Variable(values, dtype="float32", name=name)

    @property
    def trainable(self) -> bool:
        """Whether the weights are trained now."""
        return self.weights[0].trainable

    def gather(self) -> None:
        """Takes up the weights as they are now."""
        self.joined.assign(join(weight.value for weight in self.weights))

    def scatter(self, strategy: tf.distribute.Strategy) -> None:
        """Gives the weights the values of the vector, on each device those it has there."""
        strategy.extended.update(
            self.joined.value, _scatter, args=(tuple(weight.value for weight in self.weights),)
        )


def join(tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    """Lays tensors end to end, as a `WeightVector` does."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def make_vectors(detector: keras.Model) -> list[WeightVector]:
    """The weights of a detector by what can happen to them: frozen or not, decayed or not.

    Args:
        detector: with a `backbone`, which may be frozen for a while.

    Returns:
        Kernels of the backbone, its other weights, and the same of neck and head.
    """
    of_backbone = {id(weight) for weight in detector.backbone.weights}
    groups: dict[str, list[keras.Variable]] = {}
    for weight in detector.weights:
        if isinstance(weight, keras.Variable) and weight.trainable:
            part = "backbone" if id(weight) in of_backbone else "neck_and_head"
            kind = "offsets" if weight.name in NOT_DECAYED else "kernels"
            groups.setdefault(f"{part}_{kind}", []).append(weight)
    return [WeightVector(weights, name) for name, weights in sorted(groups.items())]


def make_statistics(detector: keras.Model) -> WeightVector:
    """What the batch normalizations of a detector know of their inputs."""
    names = ("moving_mean", "moving_variance")
    return WeightVector([w for w in detector.weights if w.name in names], "statistics")


class MovingAverage:
    """The exponential moving average of weights and batch statistics: what is measured and kept.

    Keras' own averages the weights alone, which is not the network that its statistics belong to,
    and starts from their initial values, of which 5% are still in it after 300 steps.

    Attributes:
        averages: one variable a vector.
    """

    def __init__(self, vectors: Sequence[WeightVector], momentum: float) -> None:
        """Args:
        vectors: what is averaged.
        momentum: what a step leaves of the average; less in the first steps (as TensorFlow's
            `ExponentialMovingAverage` with `num_updates`).
        """
        self.averages = [
            keras.Variable(vector.joined.numpy(), name=f"average_{vector.joined.name}")
            for vector in vectors
        ]
        self._vectors = list(vectors)
        self._momentum = momentum

    def update(self, steps: tf.Tensor) -> None:
        """Takes a step towards the vectors, `steps` of which were done before."""
        steps = tf.cast(steps, tf.float32)
        rate = tf.maximum(1.0 - self._momentum, 9.0 / (10.0 + steps))
        for average, vector in zip(self.averages, self._vectors, strict=True):
            average.assign_add(rate * (vector.joined - average))

    @contextlib.contextmanager
    def in_place(self, strategy: tf.distribute.Strategy) -> Iterator[None]:
        """Gives the network the averages for a while."""
        kept = [vector.joined.numpy() for vector in self._vectors]
        try:
            self._give([average.value for average in self.averages], strategy)
            yield
        finally:
            self._give(kept, strategy)

    def _give(self, values: Sequence, strategy: tf.distribute.Strategy) -> None:
        for vector, value in zip(self._vectors, values, strict=True):
            vector.joined.assign(value)
            vector.scatter(strategy)


class FusedAdamW(keras.optimizers.AdamW):
    """AdamW that updates a variable by TensorFlow's one kernel, in one pass over the memory."""

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable."""
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:  # the kernel knows one device
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def make_optimizer(
    recipe: Recipe, vectors: Sequence[WeightVector], replicas: int = 1
) -> keras.Optimizer:
    """The optimizer of a recipe, with decay and clipping.

    Args:
        recipe: how to train.
        vectors: what is trained.
        replicas: how many apply their gradients, which the optimizer adds up: each is to give the
            mean over all, so that every one is clipped alike.
    """
    shared = {
        "name": "optimizer",  # Keras would count them, and a state is found by its names
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "global_clipnorm": recipe.clip_norm and recipe.clip_norm / replicas,
    }
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=SGD_MOMENTUM, nesterov=True, **shared)
    else:
        optimizer = FusedAdamW(**shared)
    optimizer.exclude_from_weight_decay(
        [vector.joined for vector in vectors if vector.joined.name.endswith("offsets")]
    )
    if recipe.precision == "mixed_float16":  # whose smallest numbers are too large for gradients
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build([vector.joined for vector in vectors])
    return optimizer


class TrainedWeights:
    """What training changes: weights and statistics as vectors, their optimizer and average.

    Attributes:
        vectors: the weights.
        statistics: what the batch normalizations know of their inputs.
        optimizer: of the vectors.
        average: of vectors and statistics.
        strategy: where the weights are.
    """

    def __init__(
        self, detector: keras.Model, recipe: Recipe, strategy: tf.distribute.Strategy
    ) -> None:
        """Args:
        detector: with a `backbone`, built inside `strategy.scope()`.
        recipe: how to train.
        strategy: where the weights are.
        """
        detector.backbone.trainable = True  # so that its weights have a place, too
        self._model = detector
        self.strategy = strategy
        with strategy.scope():
            self.vectors = make_vectors(detector)
            self.statistics = make_statistics(detector)
            self.optimizer = make_optimizer(recipe, self.vectors, strategy.num_replicas_in_sync)
            self.average = MovingAverage([*self.vectors, self.statistics], recipe.ema_momentum)

    @property
    def variables(self) -> dict[str, list[keras.Variable]]:
        """All that makes up the state, by part."""
        return {
            "model": self._model.variables,
            "optimizer": self.optimizer.variables,
            "average": self.average.averages,
        }

    def gather(self) -> None:
        """Takes up the network's weights and statistics as they are now."""
        for vector in (*self.vectors, self.statistics):
            vector.gather()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the network has the moving average of its weights."""
        return self.average.in_place(self.strategy)


def _scatter(joined: tf.Variable, weights: Sequence[tf.Variable]) -> None:
    parts = tf.split(joined, [int(np.prod(weight.shape)) for weight in weights])
    for weight, part in zip(weights, parts, strict=True):
        weight.assign(tf.reshape(part, weight.shape), read_value=False)
