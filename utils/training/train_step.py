"""One step of training: batch -> loss, gradients, new weights, on all devices of a strategy."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from nets.detector import Detector
from utils.config import Recipe
from utils.training.optimizer import TrainedWeights, join

TrainStep = Callable[..., dict[str, tf.Tensor]]


def make_train_step(detector: Detector, trained: TrainedWeights, recipe: Recipe) -> TrainStep:
    """A step for the weights that are trainable now, traced at its first call for each image size.

    Args:
        detector: the network and its loss.
        trained: its weights.
        recipe: how to train.

    Returns:
        A function of images (B, H, W, 3), boxes (B, N, 4) and labels (B, N) as arrays of NumPy;
        it gives the terms of the loss, each a scalar.
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
        if replicas > 1:  # Keras clips what each has before it adds them up
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

    def shares_of(array: np.ndarray) -> tf.Tensor:
        def share(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            first = context.replica_id_in_sync_group * per_replica
            return tf.convert_to_tensor(array[first : first + per_replica])

        return strategy.experimental_distribute_values_from_function(share)

    return lambda *arrays: step(*map(shares_of, arrays))
