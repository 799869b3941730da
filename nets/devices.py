"""What there is to compute on."""

import tensorflow as tf


def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU, for which none of what speeds up a CPU is meant."""
    return bool(tf.config.list_physical_devices("GPU"))
