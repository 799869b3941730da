"""The optimizers that `--optimizer` selects. They update weight vectors."""

import functools
from collections.abc import Callable, Sequence

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
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:  # the kernel supports one device
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


OPTIMIZERS: dict[Optimizer, Callable[..., keras.Optimizer]] = {
    "adamw": FusedAdamW,
    "sgd": functools.partial(keras.optimizers.SGD, momentum=SGD_MOMENTUM, nesterov=True),
}


def make_optimizer(
    recipe: Recipe, vectors: Sequence[WeightVector], replicas: int = 1
) -> keras.Optimizer:
    """Builds the optimizer of a recipe, with weight decay and gradient clipping.

    Args:
        recipe: How to train.
        vectors: The vectors to train.
        replicas: Number of replicas that apply gradients. The optimizer clips the gradients of each
            replica and then sums them. Pass the mean over all replicas to each of them, so that all
            are clipped equally.
    """
    optimizer = OPTIMIZERS[recipe.optimizer](
        name="optimizer",  # otherwise Keras would number it, but states contain the name
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        global_clipnorm=recipe.clip_norm and recipe.clip_norm / replicas,
    )
    optimizer.exclude_from_weight_decay(
        [vector.joined for vector in vectors if not vector.is_decayed]
    )
    if recipe.precision == "mixed_float16":  # small gradients would underflow
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build([vector.joined for vector in vectors])
    return optimizer
