"""One training step on all devices of a strategy: batch -> losses -> gradients -> new weights."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from nets.detector import Detector
from utils.config import Recipe
from utils.training.optimizer import applying
from utils.training.trained_weights import TrainedWeights
from utils.training.vectors import join

SKIPPED = "skipped"  # beside the loss terms: 1 if the step was skipped, else 0

TrainStep = Callable[..., dict[str, tf.Tensor]]


def make_train_step(detector: Detector, trained: TrainedWeights, recipe: Recipe) -> TrainStep:
    """Makes a step that trains the weights that are trainable now.

    A step whose loss, gradients or batch statistics are not finite is skipped: weights, batch
    statistics, optimizer and moving average stay as they were. This is done without a branch,
    because TensorFlow would wait for the device to choose one.

    The step is traced at the first call for each image size.

    Args:
        detector: The network and its loss.
        trained: The weights of the network.
        recipe: How to train.

    Returns:
        A function that takes NumPy arrays, images (B, H, W, 3), boxes (B, N, 4) and labels (B, N),
        and returns the loss terms and `SKIPPED`, each a scalar. B are the images of this process;
        N must be equal on all workers.
    """
    optimizer, strategy = trained.optimizer, trained.strategy
    vectors = [vector for vector in trained.vectors if vector.trainable]
    weights = [[weight.value for weight in vector.weights] for vector in vectors]
    replicas = strategy.num_replicas_in_sync
    per_replica = recipe.batch_size // replicas

    def differentiate(
        images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            terms = detector.compute_loss(images, boxes, labels)
            loss = optimizer.scale_loss(tf.add_n(list(terms.values())))
        gradients = list(map(join, tape.gradient(loss, weights)))
        if replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        return terms, gradients

    def apply(gradients: Sequence[tf.Tensor], factor: tf.Tensor) -> None:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            # It skips gradients that are not finite and then lowers its scale, so it must see them.
            factor = tf.where(factor > 0, factor, np.nan)
            gradients = [gradient * factor for gradient in gradients]
        else:  # NaN times 0 is 0 here
            gradients = [tf.math.multiply_no_nan(gradient, factor) for gradient in gradients]
        optimizer.apply(gradients, [vector.joined for vector in vectors])

    @tf.function(autograph=False, jit_compile=recipe.jit or None)
    def step(*batch: tf.Tensor) -> dict[str, tf.Tensor]:
        terms, gradients = strategy.run(differentiate, args=batch)
        terms = {
            name: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for name, value in terms.items()
        }
        # All replicas have the same gradients now, so all skip together.
        norm = tf.linalg.global_norm(
            [strategy.experimental_local_results(gradient)[0] for gradient in gradients]
        )
        statistics = trained.statistics.current()
        sums = [norm, tf.reduce_sum(statistics), *terms.values()]
        is_finite = tf.math.is_finite(tf.add_n(sums))

        # The optimizer sums over the replicas.
        factor = tf.where(is_finite, _clipping(norm, optimizer, recipe) / replicas, 0.0)
        with applying(optimizer, is_finite):
            strategy.run(apply, args=(gradients, factor))
        for vector in vectors:
            vector.scatter(strategy)
        trained.statistics.joined.assign(tf.where(is_finite, statistics, trained.statistics.joined))
        trained.statistics.scatter(strategy)  # the forward pass has already changed them
        trained.average.update(optimizer.iterations, is_finite)
        return {**terms, SKIPPED: 1.0 - tf.cast(is_finite, tf.float32)}

    def distribute(array: np.ndarray) -> tf.Tensor:
        """Gives each replica of this process its part of the batch."""

        def part_of(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            first = context.replica_id_in_sync_group * per_replica % len(array)
            return tf.convert_to_tensor(array[first : first + per_replica])

        return strategy.experimental_distribute_values_from_function(part_of)

    return lambda *arrays: step(*map(distribute, arrays))


def _clipping(norm: tf.Tensor, optimizer: keras.Optimizer, recipe: Recipe) -> tf.Tensor:
    """Returns the factor, at most 1, that clips gradients of a norm, by which they may be scaled.

    The optimizer could clip, too, but would compute the norm again.
    """
    if recipe.clip_norm is None:
        return tf.ones(())
    unscaled = norm / optimizer.scale_loss(tf.ones(()))
    return recipe.clip_norm * tf.minimum(1.0 / unscaled, 1.0 / recipe.clip_norm)
