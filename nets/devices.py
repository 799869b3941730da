"""The devices of this machine."""

import tensorflow as tf


def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU; if so, optimizations for CPUs are disabled."""
    return bool(tf.config.list_physical_devices("GPU"))
