"""Keras layers that train with faster TensorFlow kernels than those that Keras chooses."""

from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import KerasTensor

import nets.keras_settings  # noqa: F401
from nets.devices import has_gpu
from nets.products import normalized_product, pointwise_conv
from nets.scopes import named_after_layer

# Minimum growth of the channels at which normalizing a product through its factors is not slower.
WIDENING = 4
VECTOR = 16  # channels that oneDNN normalizes at once in bfloat16


def widens(channels: int, filters: int) -> bool:
    """Whether a 1x1 convolution adds so many channels that its factors are used to normalize it."""
    return filters >= WIDENING * channels


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization that trains with TensorFlow's fused kernel.

    Keras implements it as single operations, each of which reads and writes memory. On two cores
    these take more than half of a training step of MobileNetV2. As in torch, the moving variance is
    updated with the unbiased variance of the batch.

    The result of a 1x1 convolution that adds many channels can be normalized through its two
    factors, features and kernel. For MobileNetV2 v4 at 416 and batch 8, this stores 320 MiB less
    for the gradients, and is as fast or faster.

    On a CPU, the fused kernel is ten times slower in bfloat16 if the channels do not fill its
    vectors. Such features are normalized in float32.

    A layer that is synchronized or has an option that this does not cover, such as another axis,
    uses Keras' own computation. Its moving variance is updated with the biased variance.
    """

    def __init__(
        self, *args: Any, kernel: Callable[[], keras.Variable] | None = None, **options: Any
    ) -> None:
        """Initializes the layer.

        Args:
            *args: Arguments of Keras' layer.
            kernel: Returns the kernel of the 1x1 convolution whose result is normalized; None for
                any other input. It is a function because Keras would treat a variable as a weight
                of this layer.
            **options: Arguments of Keras' layer.
        """
        super().__init__(*args, **options)
        self._kernel = kernel

    def call(
        self,
        inputs: KerasTensor,
        training: bool = False,
        mask: None = None,
        factor: KerasTensor | None = None,
    ) -> KerasTensor:
        """Normalizes features by the statistics of the batch in training, else by moving ones.

        Args:
            inputs: Features (B, H, W, C).
            training: Whether this is a training pass.
            mask: Pixels to normalize by, as in Keras' layer; usually None.
            factor: Features (B, H, W, D) that the 1x1 convolution turned into `inputs`; requires
                `kernel`.
        """
        is_plain = (
            self.center
            and self.scale
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
        )
        if not (training and self.trainable and is_plain) or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        weights = (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        gamma, beta, *moving = (tf.cast(weight, tf.float32) for weight in weights)
        if factor is not None and _uses_products(self.compute_dtype):
            kernel = tf.convert_to_tensor(self._kernel())
            outputs, *statistics = normalized_product(factor, kernel, gamma, beta, self.epsilon)
            updated = [
                old * self.momentum + tf.stop_gradient(new) * (1 - self.momentum)
                for old, new in zip(moving, statistics, strict=True)
            ]
        else:
            in_float32 = inputs.dtype == tf.bfloat16 and inputs.shape[-1] % VECTOR and not has_gpu()
            outputs, *updated, _, _, _ = tf.raw_ops.FusedBatchNormV3(
                x=tf.cast(inputs, tf.float32) if in_float32 else inputs,
                scale=gamma,
                offset=beta,
                mean=moving[0],
                variance=moving[1],
                epsilon=self.epsilon,
                exponential_avg_factor=1 - self.momentum,
            )
        self.moving_mean.assign(updated[0])
        self.moving_variance.assign(updated[1])
        return tf.cast(outputs, inputs.dtype)


class Conv2D(keras.layers.Conv2D):
    """Convolution that computes the gradient of a 1x1 kernel by matrix products on a CPU.

    That gradient is one matrix product per image, which oneDNN computes faster than the gradient of
    a kernel. Measured on two cores over the 1x1 convolutions of MobileNetV2 v4: 1.65 times as fast
    with AMX, where such products may also use the bfloat16 units for float32, and 1.15 times with
    AVX-512, in float32 and in bfloat16.

    A layer with an option that this does not cover, such as a bias, uses Keras' own computation.

    The class has the same name as Keras' own, because paths in weight files contain that name.
    """

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Convolves features (B, H, W, C)."""
        by_products = (
            training
            and self.kernel_size == self.strides == (1, 1)
            and self.groups == 1
            and _is_plain(self)
            and _uses_products(self.compute_dtype)
        )
        if not by_products:
            return super().call(inputs)
        return pointwise_conv(inputs, tf.convert_to_tensor(self.kernel))


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Depthwise convolution that trains without a padded copy, with a faster gradient at stride 2.

    A padded copy of the input would be kept for the gradients: 190 MiB in MobileNetV2's training at
    416 and batch 8. Inference does pad a copy, because every exporter supports that.

    On a CPU, the gradient of the input is computed by a convolution of stride 1. oneDNN's own for
    stride 2 takes 1.3 times as long with this padding. In bfloat16 it takes 9 times as long with
    any padding, which is a sixth of MobileNetV2's step.

    A layer with an option that this does not cover, such as a bias, uses Keras' own computation.

    The class has the same name as Keras' own, because paths in weight files contain that name.

    Attributes:
        margin: Zeros added on every side, before Keras' own padding.
    """

    def __init__(self, *args: Any, margin: int = 0, **options: Any) -> None:
        """Initializes the layer.

        Args:
            *args: Arguments of Keras' layer.
            margin: Zeros added on every side, before Keras' own padding of "valid".
            **options: Arguments of Keras' layer.

        Raises:
            ValueError: There is a margin, but the padding is not "valid" or channels come first.
        """
        super().__init__(*args, **options)
        if margin and (self.padding, self.data_format) != ("valid", "channels_last"):
            raise ValueError(
                f"{self.name}: a margin needs padding 'valid' and channels last, not "
                f"{self.padding!r} and {self.data_format!r}"
            )
        self.margin = margin
        self._margins = [[0, 0], [margin, margin], [margin, margin], [0, 0]]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """(B, H, W, C) of the result."""
        sides = zip(input_shape, self._margins, strict=True)
        padded = tuple(side and side + sum(margins) for side, margins in sides)
        return super().compute_output_shape(padded)

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Convolves features (B, H, W, C)."""
        if not (training and self._has_own_gradient(inputs.shape)):
            return super().call(tf.pad(inputs, self._margins) if self.margin else inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        margins = self._margins if self.padding == "valid" else "SAME"
        if has_gpu():
            return tf.nn.depthwise_conv2d(inputs, kernel, (1, 2, 2, 1), margins)
        return _depthwise_stride2(inputs, kernel, margins)

    def _has_own_gradient(self, input_shape: tuple) -> bool:
        """Whether the convolution is one that `_depthwise_stride2` covers."""
        halves = (
            self.strides == (2, 2)
            and self.dilation_rate == (1, 1)
            and self.depth_multiplier == 1
            and _is_plain(self)
            and None not in input_shape
            and all(side % 2 == 0 for side in input_shape[1:3])
            and all(size % 2 == 1 for size in self.kernel_size)
        )
        if self.padding == "valid":
            return halves and all(2 * self.margin + 1 == size for size in self.kernel_size)
        return halves and self.compute_dtype == "bfloat16"


def _is_plain(layer: keras.layers.Layer) -> bool:
    """Whether a convolution has neither bias nor activation, and channels come last."""
    return (
        not layer.use_bias
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
    )


def _uses_products(dtype: str) -> bool:
    """Whether gradients of 1x1 convolutions are computed by matrix products."""
    return dtype in ("float32", "bfloat16") and not has_gpu()


def _depthwise_stride2(
    x: tf.Tensor, kernel: tf.Tensor, padding: list[list[int]] | Literal["SAME"]
) -> tf.Tensor:
    """Depthwise convolution (B, H, W, C) -> (B, H / 2, W / 2, C), H and W even.

    To get the gradient of the input, zeros are inserted between the values of the upstream
    gradient. The result is convolved at stride 1 with the kernel rotated by 180 degrees. The values
    are at even rows and columns if the padding starts with k // 2 zeros. They are at odd ones if it
    starts with one zero less, as in "SAME".
    """
    between = [1, 0] if padding == "SAME" else [0, 1]

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        @named_after_layer
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            batch, height, width, channels = upstream.shape
            cells = tf.reshape(upstream, (batch, height, 1, width, 1, channels))
            spread = tf.pad(cells, [[0, 0], [0, 0], between, [0, 0], between, [0, 0]])
            spread = tf.reshape(spread, x.shape)
            grad_x = tf.nn.depthwise_conv2d(spread, kernel[::-1, ::-1], (1, 1, 1, 1), "SAME")
            grad_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=x,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=(1, 2, 2, 1),
                padding="SAME" if padding == "SAME" else "EXPLICIT",
                explicit_paddings=() if padding == "SAME" else np.ravel(padding).tolist(),
            )
            return grad_x, grad_kernel

        return tf.nn.depthwise_conv2d(x, kernel, (1, 2, 2, 1), padding), gradients

    return convolve(x, kernel)
