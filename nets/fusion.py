"""Compiles chains of element-wise operations into one loop where that is safe."""

import functools
import sys
from collections.abc import Callable

import tensorflow as tf

from nets.devices import has_gpu


def fused(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Compiles a function of tensors by XLA, so that intermediate arrays are not stored.

    This helps a function that reads large arrays many times and returns a small one. It must not
    contain convolutions, which XLA runs slowly on a CPU. Applied only on Linux without a GPU:
    TensorFlow for macOS has no XLA (tensorflow issue 63043), and on GPUs `--jit` compiles the
    whole step.

    Args:
        function: Function of tensors of static shape, without variables or communication.
    """
    compiled = tf.function(function, autograph=False, jit_compile=True)

    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> tf.Tensor:
        safe = sys.platform == "linux" and not has_gpu()
        return (compiled if safe else function)(*tensors)

    return call
