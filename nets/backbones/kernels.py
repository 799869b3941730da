"""Keras' layers, trained through kernels of TensorFlow that are faster than those Keras takes."""

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import KerasTensor


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization that trains through TensorFlow's fused kernel.

    Keras computes it from single operations, each of which goes through memory: measured on two
    cores, more than half of a training step of MobileNetV2. As in torch, the moving variance takes
    up the unbiased variance of the batch.
    """

    def call(self, inputs: KerasTensor, training: bool = False, mask: None = None) -> KerasTensor:
        """Normalizes features (B, H, W, C) over the batch in training, else as learned."""
        if not (training and self.trainable) or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
        )
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + tf.stop_gradient(value) * (1 - self.momentum))
        return outputs


class Conv2D(keras.layers.Conv2D):
    """Convolution that finds the gradient of a 1x1 kernel by matrix products on a CPU.

    That gradient is one product of matrices an image. For products oneDNN uses the processor's
    bfloat16 units where it may, for the gradients of kernels not: measured on two cores with AMX
    over the 1x1 convolutions of MobileNetV2 and v4, 1.65 times as fast, and as fast without AMX.

    It has the name of Keras' own, from which paths in weight files are made.
    """

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Convolves features (B, H, W, C)."""
        by_products = (
            training
            and self.kernel_size == self.strides == (1, 1)
            and self.groups == 1
            and not self.use_bias
            and self.activation is keras.activations.linear
            and self.compute_dtype == "float32"
            and not tf.config.list_physical_devices("GPU")
        )
        if by_products:
            return _pointwise(inputs, tf.convert_to_tensor(self.kernel))
        return super().call(inputs)


@tf.custom_gradient
def _pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_x = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(x), 1)
        of_images = tf.matmul(_pixels(x), _pixels(upstream), transpose_a=True)
        return of_x, tf.reshape(tf.reduce_sum(of_images, axis=0), kernel.shape)

    return tf.nn.conv2d(x, kernel, 1, "SAME"), gradients


def _pixels(features: tf.Tensor) -> tf.Tensor:
    """Features (B, H, W, C) as (B, H * W, C)."""
    _, height, width, channels = features.shape
    return tf.reshape(features, (-1, height * width, channels))
