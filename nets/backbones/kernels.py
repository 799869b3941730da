"""Keras' layers, trained through kernels of TensorFlow that are faster than those Keras takes."""

from collections.abc import Callable
from typing import Any

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


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Depthwise convolution that in training pads as it goes.

    A padded copy of its input would be kept for the gradients: 190 MiB of MobileNetV2's training
    at 416 and batch 8. At inference there is one, which every exporter knows.

    It has the name of Keras' own, from which paths in weight files are made.
    """

    def __init__(self, *args: Any, margin: int = 0, **options: Any) -> None:
        """Args:
        *args: of Keras' layer.
        margin: zeros on every side, before Keras' own padding of "valid".
        **options: of Keras' layer.
        """
        super().__init__(*args, **options)
        self._margins = [[0, 0], [margin, margin], [margin, margin], [0, 0]]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """(B, H, W, C) of the result."""
        sides = zip(input_shape, self._margins, strict=True)
        padded = tuple(side and side + sum(margins) for side, margins in sides)
        return super().compute_output_shape(padded)

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Convolves features (B, H, W, C)."""
        if self.padding == "valid" and training:
            strides = (1, *self.strides, 1)
            kernel = tf.convert_to_tensor(self.kernel)
            return tf.nn.depthwise_conv2d(inputs, kernel, strides, self._margins)
        return super().call(tf.pad(inputs, self._margins) if self.padding == "valid" else inputs)


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
