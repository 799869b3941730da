"""Keras' layers, trained through kernels of TensorFlow that are faster than those Keras takes."""

from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import KerasTensor

from nets.devices import has_gpu

# Where a tensor has what it is the product of, features and kernel, for a normalization after it.
FACTORS = "_swapyolo_factors"
WIDENING = 4  # times the channels, from which on a product is normalized no slower than features
VECTOR = 16  # channels at a time that oneDNN normalizes in bfloat16


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization that trains through TensorFlow's fused kernel.

    Keras computes it from single operations, each of which goes through memory: measured on two
    cores, more than half of a training step of MobileNetV2. As in torch, the moving variance takes
    up the unbiased variance of the batch.

    What a 1x1 convolution has widened is normalized as the product that it is, which keeps 320 MiB
    less for the gradients of MobileNetV2 v4 at 416 and batch 8 and is as fast or faster.

    On a CPU the kernel's bfloat16 is ten times as slow for channels that do not fill its vectors:
    such features are normalized in float32.
    """

    def call(self, inputs: KerasTensor, training: bool = False, mask: None = None) -> KerasTensor:
        """Normalizes features (B, H, W, C) over the batch in training, else as learned."""
        if not (training and self.trainable) or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        weights = (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        gamma, beta, *moving = (tf.cast(weight, tf.float32) for weight in weights)
        if factors := getattr(inputs, FACTORS, None):
            outputs, *of_batch = _normalized_product(*factors, gamma, beta, self.epsilon)
            moved = [
                old * self.momentum + tf.stop_gradient(new) * (1 - self.momentum)
                for old, new in zip(moving, of_batch, strict=True)
            ]
        else:
            ragged = inputs.dtype == tf.bfloat16 and inputs.shape[-1] % VECTOR and not has_gpu()
            outputs, *moved, _, _, _ = tf.raw_ops.FusedBatchNormV3(
                x=tf.cast(inputs, tf.float32) if ragged else inputs,
                scale=gamma,
                offset=beta,
                mean=moving[0],
                variance=moving[1],
                epsilon=self.epsilon,
                exponential_avg_factor=1 - self.momentum,
            )
        self.moving_mean.assign(moved[0])
        self.moving_variance.assign(moved[1])
        return tf.cast(outputs, inputs.dtype)


class Conv2D(keras.layers.Conv2D):
    """Convolution that finds the gradient of a 1x1 kernel by matrix products on a CPU.

    That gradient is one product of matrices an image, which oneDNN finds faster than the gradient
    of a kernel. Measured on two cores over the 1x1 convolutions of MobileNetV2 and v4: 1.65 times
    as fast with AMX, where it also takes float32 to the bfloat16 units if it may; with AVX-512 1.15
    times in float32 and as much in bfloat16.

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
            and self.compute_dtype in ("float32", "bfloat16")
            and not has_gpu()
        )
        if not by_products:
            return super().call(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        outputs = _pointwise(inputs, kernel)
        if self.filters >= WIDENING * inputs.shape[-1]:
            setattr(outputs, FACTORS, (inputs, kernel))
        return outputs


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Depthwise convolution that in training pads as it goes, with a faster gradient at stride 2.

    A padded copy of its input would be kept for the gradients: 190 MiB of MobileNetV2's training
    at 416 and batch 8. At inference there is one, which every exporter knows.

    The gradient of its input is on a CPU that of stride 1: oneDNN's own of stride 2 takes 1.3 times
    as long if padded so, and in bfloat16, padded or not, 9 times: a sixth of MobileNetV2's step.

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
        own_gradient = self.padding == "valid" or self.compute_dtype == "bfloat16"
        if training and self.strides == (2, 2) and own_gradient:
            kernel = tf.convert_to_tensor(self.kernel)
            margins = self._margins if self.padding == "valid" else "SAME"
            if has_gpu():
                return tf.nn.depthwise_conv2d(inputs, kernel, (1, 2, 2, 1), margins)
            return _halving(inputs, kernel, margins)
        return super().call(tf.pad(inputs, self._margins) if self.padding == "valid" else inputs)


def _halving(
    x: tf.Tensor, kernel: tf.Tensor, padding: list[list[int]] | Literal["SAME"]
) -> tf.Tensor:
    """Depthwise convolution (B, H, W, C) -> (B, H / 2, W / 2, C), H and W even.

    What flows back to its input is the convolution at stride 1, by the kernel turned by half, of
    what comes back with zeros between: at the even rows and columns where k // 2 zeros were put
    before, at the odd ones where there was one less, as "SAME" has it.
    """
    between = [1, 0] if padding == "SAME" else [0, 1]

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            batch, height, width, channels = upstream.shape
            cells = tf.reshape(upstream, (batch, height, 1, width, 1, channels))
            spread = tf.pad(cells, [[0, 0], [0, 0], between, [0, 0], between, [0, 0]])
            spread = tf.reshape(spread, x.shape)
            of_x = tf.nn.depthwise_conv2d(spread, kernel[::-1, ::-1], (1, 1, 1, 1), "SAME")
            of_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=x,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=(1, 2, 2, 1),
                padding="SAME" if padding == "SAME" else "EXPLICIT",
                explicit_paddings=() if padding == "SAME" else np.ravel(padding).tolist(),
            )
            return of_x, of_kernel

        return tf.nn.depthwise_conv2d(x, kernel, (1, 2, 2, 1), padding), gradients

    return convolve(x, kernel)


@tf.custom_gradient
def _pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_x = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(x), 1)
        of_kernel = tf.reshape(_pixel_products(x, upstream), kernel.shape)
        return of_x, tf.cast(of_kernel, kernel.dtype)

    return tf.nn.conv2d(x, kernel, 1, "SAME"), gradients


def _normalized_product(
    x: tf.Tensor, kernel: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The batch normalization of a 1x1 convolution, without the convolution itself.

    Mean and variance of a product follow from those of its narrow factor: with features X of mean m
    and covariance S, the mean of X W is m W and its variance the diagonal of W' S W. So the wide
    product is made once, normalized, instead of made, read three times and written again; nothing
    of it is kept for the gradients, which follow from sums over X likewise.

    In bfloat16 the statistics are found in float32 all the same, since a variance that is small
    beside those of the features would be lost in their rounding.

    Args:
        x: features (B, H, W, C).
        kernel: (1, 1, C, D), of the same type.
        gamma: (D,) in float32.
        beta: (D,) in float32.
        epsilon: what is added to the variance.

    Returns:
        Normalized features (B, H, W, D), their mean and their unbiased variance before, these in
        float32.
    """
    count = float(np.prod(x.shape[:3]))

    @tf.custom_gradient
    def normalize(
        x: tf.Tensor, kernel: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], Callable]:
        matrix = tf.cast(kernel[0, 0], tf.float32)
        centred = tf.cast(x, tf.float32)
        mean_x = tf.reduce_mean(centred, axis=(0, 1, 2))
        centred -= mean_x
        spread = _pixel_products(centred, centred) / count @ matrix  # S W
        variance = tf.maximum(tf.reduce_sum(matrix * spread, axis=0), 0.0)
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = gamma * inverse
        mean = tf.linalg.matvec(matrix, mean_x, transpose_a=True)
        scaled = tf.cast(matrix * scale, x.dtype)[None, None]
        offset = tf.cast(beta - mean * scale, x.dtype)
        outputs = tf.nn.bias_add(tf.nn.conv2d(x, scaled, 1, "SAME"), offset)

        def gradients(upstream: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # A column of ones makes the product sum the wide side as it reads it.
            with_one = tf.concat([x, tf.ones_like(x[..., :1])], axis=-1)
            products = _pixel_products(with_one, upstream)
            of_beta = products[-1]
            cross = products[:-1] - mean_x[:, None] * of_beta
            of_gamma = tf.reduce_sum(matrix * cross, axis=0) * inverse
            of_kernel = scale * (cross - spread * (inverse * of_gamma))
            # What flows back through mean and variance is linear in x.
            mixing = tf.matmul(
                matrix * (scale * inverse * of_gamma / count), matrix, transpose_b=True
            )
            constant = tf.linalg.matvec(mixing, mean_x) - tf.linalg.matvec(
                matrix, scale * of_beta / count
            )
            of_x = tf.nn.conv2d_transpose(upstream, scaled, tf.shape(x), 1)
            mixing, constant = (tf.cast(part, x.dtype) for part in (mixing, constant))
            of_x += constant - tf.nn.conv2d(x, mixing[None, None], 1, "SAME")
            of_kernel = tf.cast(tf.reshape(of_kernel, kernel.shape), kernel.dtype)
            return of_x, of_kernel, of_gamma, of_beta

        return (outputs, mean, variance * (count / max(count - 1.0, 1.0))), gradients

    return normalize(x, kernel, gamma, beta)


def _pixel_products(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The sum over pixels of a' b, (C, D) in float32, of features (B, H, W, C) and (B, H, W, D)."""
    (_, height, width, narrow), wide = a.shape, b.shape[-1]
    if narrow > wide:  # oneDNN is up to twice as fast with the wide one last
        return tf.transpose(_pixel_products(b, a))
    # One product an image, unless it would be larger than what it is made from.
    split = (-1, height * width)
    if narrow * wide > height * width * (narrow + wide):
        split = (1, -1)
    a, b = (tf.reshape(side, (*split, side.shape[-1])) for side in (a, b))
    return tf.reduce_sum(tf.cast(tf.matmul(a, b, transpose_a=True), tf.float32), axis=0)
