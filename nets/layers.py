"""The few layers that backbones are made of, exact under either framework's convention."""

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import KerasTensor

from nets.conventions import Convention
from nets.kernels import BatchNorm, Conv2D, DepthwiseConv2D

# For training. Checkpoints were made with 0.99 to 0.999, whose averages lag behind on the few
# thousand steps that a detector is fine-tuned for; at inference momentum plays no part.
BN_MOMENTUM = 0.97

# Where the offset of a normalization before an activation starts. From 0 each such layer blows the
# gradient up, and a neck of fifty without shortcuts makes noise of it; the cure is to start where
# activations are nearly linear (Yang et al. 2019, arXiv 1902.08129). Measured on the v4 detector of
# MobileNetV1 x0.25: norm of the first gradients 150 from 0, and 0.1 from 2.
BN_OFFSET = 2.0

Activation = str | Callable[[KerasTensor], KerasTensor]


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a channel count to the nearest multiple that is not more than 10% smaller.

    From the MobileNets' reference code: github.com/tensorflow/models, slim/nets/mobilenet.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def leaky_relu(x: KerasTensor) -> KerasTensor:
    """Leaky ReLU of slope 0.1, Darknet's."""
    return keras.ops.leaky_relu(x, 0.1)


def kernel_initializer() -> keras.initializers.Initializer:
    """A new He initializer by fan-out, which suits plain and depthwise kernels alike.

    New each time, since one initializer gives the same values at every call.
    """
    return keras.initializers.VarianceScaling(2.0, mode="fan_out")


def batch_norm(
    x: KerasTensor, *, offset: float = 0.0, epsilon: float = 1e-3, name: str | None = None
) -> KerasTensor:
    """Normalize over the batch; over all replicas' batches where a strategy has several.

    Args:
        x: features (B, H, W, C).
        offset: where the learnt offset starts from; BN_OFFSET before most activations.
        epsilon: what is added to the variance.
        name: of the layer.
    """
    return BatchNorm(
        momentum=BN_MOMENTUM,
        epsilon=epsilon,
        beta_initializer=keras.initializers.Constant(offset),
        synchronized=tf.distribute.get_strategy().num_replicas_in_sync > 1,
        name=name,
    )(x)


def squeeze_excite(
    x: KerasTensor,
    filters: int,
    activation: Activation,
    gate: Activation,
    *,
    names: tuple[str, str],
) -> KerasTensor:
    """Weight the channels of `x` by what its global average says (Hu et al., arXiv 1709.01507).

    Args:
        x: features (B, H, W, C).
        filters: channels of the squeezed vector.
        activation: activation of the squeezed vector.
        gate: activation that gives the weights, such as "sigmoid" or "hard_sigmoid".
        names: names of the squeezing and of the exciting convolution.
    """
    squeeze, excite = names
    weights = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = keras.layers.Conv2D(filters, 1, activation=activation, name=squeeze)(weights)
    weights = keras.layers.Conv2D(x.shape[-1], 1, activation=gate, name=excite)(weights)
    return keras.layers.Multiply()([x, weights])


class Layers:
    """Convolutions and pooling bound to one convention."""

    def __init__(self, convention: Convention):
        self.convention = convention

    @property
    def hard_sigmoid(self) -> Activation:
        """The convention's own, as an activation."""
        slope = self.convention.hard_sigmoid_slope
        if slope == 1 / 6:
            return "hard_sigmoid"
        return lambda x: keras.ops.clip(slope * x + 0.5, 0, 1)

    def scale(self, images: KerasTensor) -> KerasTensor:
        """RGB 0..255 to what the weights expect, in float32 whatever the precision policy."""
        mean, std = self.convention.mean, self.convention.std
        return keras.layers.Rescaling(
            scale=[1 / s for s in std],
            offset=[-m / s for m, s in zip(mean, std, strict=True)],
            dtype="float32",
            name="scaling",
        )(images)

    def conv(
        self,
        x: KerasTensor,
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        activation: Activation | None = None,
        *,
        name: str,
        bn: str | None = None,
        offset: float | None = None,
    ) -> KerasTensor:
        """Convolution without bias, batch normalization, activation.

        Args:
            x: features (B, H, W, C), H and W even where `strides` is 2.
            filters: channels of the result.
            kernel_size: odd.
            strides: 1 or 2.
            activation: a Keras activation, None for a linear layer.
            name: name of the convolution.
            bn: name of the normalization, `name` + "_bn" if not given.
            offset: where that of the normalization starts from; BN_OFFSET before an activation
                and 0 else, if not given.
        """
        x, padding = self._pad(x, kernel_size, strides)
        x = Conv2D(
            filters,
            kernel_size,
            strides,
            padding,
            use_bias=False,
            kernel_initializer=kernel_initializer(),
            name=name,
        )(x)
        return self._finish(x, activation, name, bn, offset)

    def depthwise(
        self,
        x: KerasTensor,
        kernel_size: int,
        strides: int = 1,
        activation: Activation | None = None,
        *,
        name: str,
        bn: str | None = None,
    ) -> KerasTensor:
        """Depthwise convolution without bias, then as `conv`, whose arguments it shares."""
        as_keras = self._pads_as_keras(strides)
        x = DepthwiseConv2D(
            kernel_size,
            strides,
            "same" if as_keras else "valid",
            margin=0 if as_keras else kernel_size // 2,
            use_bias=False,
            depthwise_initializer=kernel_initializer(),
            name=name,
        )(x)
        return self._finish(x, activation, name, bn)

    def max_pool(self, x: KerasTensor) -> KerasTensor:
        """3x3 maximum at stride 2 of features that are nowhere negative."""
        # Never negative, so that padding with zeros never wins over a feature.
        x, padding = self._pad(x, 3, 2)
        return keras.layers.MaxPooling2D(3, 2, padding)(x)

    def _pad(self, x: KerasTensor, kernel_size: int, strides: int) -> tuple[KerasTensor, str]:
        """The padded features and the padding left to the layer itself."""
        if self._pads_as_keras(strides):
            return x, "same"
        return keras.layers.ZeroPadding2D(kernel_size // 2)(x), "valid"

    def _pads_as_keras(self, strides: int) -> bool:
        # TensorFlow's "same" at stride 2 and even sizes is just Keras' explicit (k//2 - 1, k//2).
        return strides == 1 or self.convention.padding == "keras"

    def _finish(
        self,
        x: KerasTensor,
        activation: Activation | None,
        name: str,
        bn: str | None,
        offset: float | None = None,
    ) -> KerasTensor:
        if offset is None:
            offset = BN_OFFSET if activation else 0.0
        x = batch_norm(
            x,
            offset=offset,
            epsilon=self.convention.bn_epsilon,
            name=bn or f"{name}_bn",
        )
        return keras.layers.Activation(activation, name=f"{name}_act")(x) if activation else x
