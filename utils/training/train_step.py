"""One training step on all devices of a strategy: batch -> losses -> gradients -> new weights."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from nets.detector import Detector
from utils.config import Recipe
from utils.training.trained_weights import TrainedWeights
from utils.training.vectors import join

TrainStep = Callable[..., dict[str, tf.Tensor]]


def make_train_step(detector: Detector, trained: TrainedWeights, recipe: Recipe) -> TrainStep:
    """Makes a step that trains the weights that are trainable now.

    It is traced at the first call for each image size.

    Args:
        detector: The network and its loss.
        trained: The weights of the network.
        recipe: How to train.

    Returns:
        A function that takes NumPy arrays, images (B, H, W, 3), boxes (B, N, 4) and labels (B, N),
        and returns the loss terms, each a scalar.
    """
    optimizer, strategy = trained.optimizer, trained.strategy
    vectors = [vector for vector in trained.vectors if vector.trainable]
    weights = [[weight.value for weight in vector.weights] for vector in vectors]
    replicas = strategy.num_replicas_in_sync
    per_replica = recipe.batch_size // replicas

    def replica_step(
        images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            terms = detector.compute_loss(images, boxes, labels)
            loss = optimizer.scale_loss(tf.add_n(list(terms.values())))
        gradients = list(map(join, tape.gradient(loss, weights)))
        if replicas > 1:  # Keras clips the gradients of each replica before it sums them
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        optimizer.apply(gradients, [vector.joined for vector in vectors])
        return terms

    @tf.function(autograph=False, jit_compile=recipe.jit or None)
    def step(*batch: tf.Tensor) -> dict[str, tf.Tensor]:
        terms = strategy.run(replica_step, args=batch)
        for vector in vectors:
            vector.scatter(strategy)
        trained.statistics.gather()
        trained.average.update(optimizer.iterations)
        return {
            name: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for name, value in terms.items()
        }

    def distribute(array: np.ndarray) -> tf.Tensor:
        """Gives each replica its part of the batch."""

        def part_of(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            first = context.replica_id_in_sync_group * per_replica
            return tf.convert_to_tensor(array[first : first + per_replica])

        return strategy.experimental_distribute_values_from_function(part_of)

    return lambda *arrays: step(*map(distribute, arrays))
