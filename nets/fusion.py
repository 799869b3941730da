"""Chains of element-wise operations, compiled to one loop where that is safe."""

import functools
import sys
from collections.abc import Callable

import tensorflow as tf

from nets.devices import has_gpu


def fused(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Has XLA compile a function of tensors, so that what lies between its operations is not kept.

    Worth it for a function that goes through large arrays many times and gives a small one, and
    has no convolution in it: XLA's are slow on a CPU. Only on Linux without a GPU; TensorFlow for
    Macs has no XLA (tensorflow issue 63043), and on GPUs `--jit` compiles the whole step.

    Args:
        function: tensors of static shape -> a tensor, without variables or communication.
    """
    compiled = tf.function(function, autograph=False, jit_compile=True)

    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> tf.Tensor:
        safe = sys.platform == "linux" and not has_gpu()
        return (compiled if safe else function)(*tensors)

    return call
