"""Names of operations, by which a profile of a training step assigns them to layers."""

import functools
from collections.abc import Callable

import tensorflow as tf

GRADIENTS = "gradient_tape"  # TensorFlow's own prefix for operations that compute gradients


def named_after_layer(gradients: Callable) -> Callable:
    """Names the operations of a custom gradient like TensorFlow names those of its own gradients.

    Otherwise their names contain no layer. The layer is the one whose call uses this decorator.

    Args:
        gradients: The gradient function that a function with `tf.custom_gradient` returns.
    """
    layer = tf.get_current_name_scope()

    @functools.wraps(gradients)
    def named(*upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.name_scope(f"{GRADIENTS}/{layer}/" if layer else f"{GRADIENTS}/"):
            return gradients(*upstream)

    return named
