"""The optimizers that `--optimizer` selects. They update weight vectors.

An update at a learning rate of 0 and gradients of 0 changes nothing, not even the momentum, as long
as `applying` is used. In this way, a step is skipped without a branch.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

from utils.config import Optimizer, Recipe
from utils.training.vectors import WeightVector

SGD_MOMENTUM = 0.937  # YOLOv3 and v4 use 0.9 to 0.949; this is the predecessors' default


class FusedAdamW(keras.optimizers.AdamW):
    """AdamW that updates a variable by one TensorFlow kernel, in one pass over the memory."""

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable."""
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        step = tf.cast(self.iterations + 1, tf.float32)
        beta1_power, beta2_power = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        is_applied = learning_rate > 0
        beta1 = tf.where(is_applied, self.beta_1, 1.0)
        beta2 = tf.where(is_applied, self.beta_2, 1.0)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:  # the kernel supports one device
            rate = learning_rate * tf.sqrt(1 - beta2_power) / (1 - beta1_power)
            self.assign_add(m, (gradient - m) * (1 - beta1))
            self.assign_add(v, (tf.square(gradient) - v) * (1 - beta2))
            self.assign_sub(variable, m * rate / (tf.sqrt(v) + self.epsilon))
            return
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.value.handle,
            v=v.value.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class NesterovSGD(keras.optimizers.SGD):
    """SGD with Nesterov momentum."""

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable."""
        m = self.momentums[self._get_variable_index(variable)]
        is_applied = learning_rate > 0
        move = gradient * learning_rate
        self.assign(m, m * tf.where(is_applied, self.momentum, 1.0) - move)
        self.assign_add(variable, m * tf.where(is_applied, self.momentum, 0.0) - move)


OPTIMIZERS: dict[Optimizer, Callable[..., keras.Optimizer]] = {
    "adamw": FusedAdamW,
    "sgd": lambda **options: NesterovSGD(momentum=SGD_MOMENTUM, nesterov=True, **options),
}


def make_optimizer(recipe: Recipe, vectors: Sequence[WeightVector]) -> keras.Optimizer:
    """Builds the optimizer of a recipe, with weight decay; the step clips the gradients.

    Args:
        recipe: How to train.
        vectors: The vectors to train.
    """
    optimizer = OPTIMIZERS[recipe.optimizer](
        name="optimizer",  # otherwise Keras would number it, but states contain the name
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    optimizer.exclude_from_weight_decay(
        [vector.joined for vector in vectors if not vector.is_decayed]
    )
    if recipe.precision == "mixed_float16":  # small gradients would underflow
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build([vector.joined for vector in vectors])
    return optimizer


@contextlib.contextmanager
def applying(optimizer: keras.Optimizer, condition: tf.Tensor) -> Iterator[None]:
    """Lets updates inside a `with` block of a graph change nothing if a condition is false.

    Args:
        optimizer: The optimizer, from `make_optimizer`.
        condition: Scalar bool. If it is false, the gradients in the block must be 0.
    """
    rate, iterations = optimizer.learning_rate, optimizer.iterations
    rate_before, iterations_before = tf.identity(rate.value), tf.identity(iterations.value)
    rate.assign(tf.where(condition, rate_before, 0.0))  # weight decay is proportional to it
    yield
    rate.assign(rate_before)
    iterations.assign(tf.where(condition, iterations.value, iterations_before))
