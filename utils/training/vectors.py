"""The weights of a network as a few long vectors, which the optimizer updates instead.

A network has hundreds of small weights, and an optimizer runs a dozen operations for each of them.
On a CPU these cost as much as the convolutions of a small network, and tracing them takes longer
than the rest of the first step. With four vectors, any network needs only fifty operations in total
for the same arithmetic.
"""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

NOT_DECAYED = ("gamma", "beta", "bias")  # weight decay applies to kernels only


class WeightVector:
    """Several weights, concatenated.

    Attributes:
        weights: The weights, in order.
        joined: Their values as one variable; `scatter` copies them back into the weights.
    """

    def __init__(self, weights: Sequence[keras.Variable], name: str) -> None:
        """Concatenates the current values of the weights.

        Args:
            weights: Weights that are all trained or frozen together, and all decayed or not.
            name: Name of the variable.
        """
        self.weights = list(weights)
        values = np.concatenate([weight.numpy().ravel() for weight in self.weights])
        self.joined = keras.Variable(values, dtype="float32", name=name)

    @property
    def trainable(self) -> bool:
        """Whether the weights are trained now."""
        return self.weights[0].trainable

    @property
    def is_decayed(self) -> bool:
        """Whether weight decay applies to the weights."""
        return self.weights[0].name not in NOT_DECAYED

    def current(self) -> tf.Tensor:
        """Returns the current values of the weights, which may differ from the vector."""
        return join(weight.value for weight in self.weights)

    def gather(self) -> None:
        """Copies the current values of the weights into the vector."""
        self.joined.assign(self.current())

    def scatter(self, strategy: tf.distribute.Strategy) -> None:
        """Copies the values of the vector into the weights, on every device of the strategy."""
        strategy.extended.update(
            self.joined.value, _scatter, args=(tuple(weight.value for weight in self.weights),)
        )


def join(tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    """Flattens and concatenates tensors in the order of a `WeightVector`."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def make_vectors(detector: keras.Model) -> list[WeightVector]:
    """Groups the trainable weights of a detector by part and by weight decay.

    Args:
        detector: Model with a `backbone`, which must be trainable.

    Returns:
        The kernels of the backbone, its other weights, and the same two groups of neck and head.
    """
    in_backbone = {id(weight) for weight in detector.backbone.weights}
    groups: dict[str, list[keras.Variable]] = {}
    for weight in detector.weights:
        if isinstance(weight, keras.Variable) and weight.trainable:
            part = "backbone" if id(weight) in in_backbone else "neck_and_head"
            kind = "offsets" if weight.name in NOT_DECAYED else "kernels"
            groups.setdefault(f"{part}_{kind}", []).append(weight)
    return [WeightVector(weights, name) for name, weights in sorted(groups.items())]


def make_statistics(detector: keras.Model) -> WeightVector:
    """Concatenates the moving means and variances of all batch normalizations."""
    names = ("moving_mean", "moving_variance")
    return WeightVector([w for w in detector.weights if w.name in names], "statistics")


def _scatter(joined: tf.Variable, weights: Sequence[tf.Variable]) -> None:
    parts = tf.split(joined, [int(np.prod(weight.shape)) for weight in weights])
    for weight, part in zip(weights, parts, strict=True):
        weight.assign(tf.reshape(part, weight.shape), read_value=False)
