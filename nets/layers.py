"""The layers that detectors are built from, under the convention of any framework."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras import KerasTensor

from nets.conventions import Convention
from nets.kernels import BatchNorm, Conv2D, DepthwiseConv2D, widens

# Momentum of batch normalization in training. Checkpoints were trained with 0.99 to 0.999, but then
# the moving averages lag behind if fine-tuning takes only a few thousand steps.
BN_MOMENTUM = 0.97

# Initial offset of a normalization before an activation. With 0, each such layer amplifies the
# gradient, and fifty of them without shortcuts turn it into noise; the remedy is to start where
# activations are nearly linear (Yang et al. 2019, arXiv 1902.08129). Measured on the v4 detector of
# MobileNetV1 x0.25: the norm of the first gradient is 150 with 0, and 0.1 with 2.
BN_OFFSET = 2.0

Activation = str | Callable[[KerasTensor], KerasTensor]
Name = str | tuple[str, str]  # of a convolution, or of a convolution and its normalization


def make_divisible(value: float, divisor: int = 8) -> int:
    """Rounds a channel count to the nearest multiple that is not more than 10% smaller.

    From the reference code of the MobileNets: github.com/tensorflow/models, slim/nets/mobilenet.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def leaky_relu(x: KerasTensor) -> KerasTensor:
    """Leaky ReLU of slope 0.1, as in Darknet."""
    return keras.ops.leaky_relu(x, 0.1)


def kernel_initializer() -> keras.initializers.Initializer:
    """Returns a new He initializer by fan-out, for plain and depthwise kernels.

    Each kernel needs its own, since an initializer returns the same values at every call.
    """
    return keras.initializers.VarianceScaling(2.0, mode="fan_out")


def squeeze_excite(
    x: KerasTensor,
    filters: int,
    activation: Activation,
    gate: Activation,
    *,
    names: tuple[str, str],
) -> KerasTensor:
    """Weights the channels of `x` by a function of their global averages (arXiv 1709.01507).

    Args:
        x: Features (B, H, W, C).
        filters: Channels of the squeezed vector.
        activation: Activation of the squeezed vector.
        gate: Activation that returns the weights, such as "sigmoid" or "hard_sigmoid".
        names: Names of the squeezing and of the exciting convolution.
    """
    squeeze, excite = names
    weights = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = keras.layers.Conv2D(filters, 1, activation=activation, name=squeeze)(weights)
    weights = keras.layers.Conv2D(x.shape[-1], 1, activation=gate, name=excite)(weights)
    return keras.layers.Multiply()([x, weights])


@dataclass(frozen=True)
class Layers:
    """Convolutions and pooling of one convention.

    Attributes:
        convention: Padding, epsilon and pixel scaling that the weights assume.
        offset: Initial offset of a normalization before an activation; elsewhere it is 0.
    """

    convention: Convention
    offset: float = BN_OFFSET

    @property
    def hard_sigmoid(self) -> Activation:
        """The hard sigmoid of the convention."""
        slope = self.convention.hard_sigmoid_slope
        if slope == 1 / 6:
            return "hard_sigmoid"
        return lambda x: keras.ops.clip(slope * x + 0.5, 0, 1)

    def scale(self, images: KerasTensor) -> KerasTensor:
        """Scales RGB 0..255 as the weights expect, always in float32."""
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
        name: Name,
    ) -> KerasTensor:
        """Convolution without bias, batch normalization, activation.

        Args:
            x: Features (B, H, W, C), H and W even if `strides` is 2.
            filters: Channels of the result.
            kernel_size: Odd size of the kernel.
            strides: 1 or 2.
            activation: A Keras activation; None for none.
            name: Name of the convolution, to which the normalization's adds "_bn"; or a pair with
                the names of both.
        """
        conv_name, _ = _names(name)
        padded, padding = self._pad(x, kernel_size, strides)
        convolution = Conv2D(
            filters,
            kernel_size,
            strides,
            padding,
            use_bias=False,
            kernel_initializer=kernel_initializer(),
            name=conv_name,
        )
        convolved = convolution(padded)
        if kernel_size == strides == 1 and widens(x.shape[-1], filters):
            norm = self._norm(activation, name, kernel=lambda: convolution.kernel)
            return _activate(norm(convolved, factor=x), activation, name)
        return _activate(self._norm(activation, name)(convolved), activation, name)

    def depthwise(
        self,
        x: KerasTensor,
        kernel_size: int,
        strides: int = 1,
        activation: Activation | None = None,
        *,
        name: Name,
    ) -> KerasTensor:
        """Depthwise convolution without bias, batch normalization, activation; see `conv`."""
        conv_name, _ = _names(name)
        pads_as_keras = self._pads_as_keras(strides)
        x = DepthwiseConv2D(
            kernel_size,
            strides,
            "same" if pads_as_keras else "valid",
            margin=0 if pads_as_keras else kernel_size // 2,
            use_bias=False,
            depthwise_initializer=kernel_initializer(),
            name=conv_name,
        )(x)
        return _activate(self._norm(activation, name)(x), activation, name)

    def max_pool(self, x: KerasTensor) -> KerasTensor:
        """3x3 max pooling at stride 2, for features that are nowhere negative."""
        # Padding with zeros never exceeds such a feature.
        x, padding = self._pad(x, 3, 2)
        return keras.layers.MaxPooling2D(3, 2, padding)(x)

    def _pad(self, x: KerasTensor, kernel_size: int, strides: int) -> tuple[KerasTensor, str]:
        """Returns the padded features and the padding that the layer itself still has to do."""
        if self._pads_as_keras(strides):
            return x, "same"
        return keras.layers.ZeroPadding2D(kernel_size // 2)(x), "valid"

    def _pads_as_keras(self, strides: int) -> bool:
        # TensorFlow's "same" at stride 2 and even sizes equals Keras' explicit (k//2 - 1, k//2).
        return strides == 1 or self.convention.padding == "keras"

    def _norm(
        self,
        activation: Activation | None,
        name: Name,
        kernel: Callable[[], keras.Variable] | None = None,
    ) -> BatchNorm:
        """The normalization after a convolution, synchronized if there are several replicas."""
        _, norm_name = _names(name)
        return BatchNorm(
            momentum=BN_MOMENTUM,
            epsilon=self.convention.bn_epsilon,
            beta_initializer=keras.initializers.Constant(self.offset if activation else 0.0),
            synchronized=tf.distribute.get_strategy().num_replicas_in_sync > 1,
            kernel=kernel,
            name=norm_name,
        )


def _names(name: Name) -> tuple[str, str]:
    return (name, f"{name}_bn") if isinstance(name, str) else name


def _activate(x: KerasTensor, activation: Activation | None, name: Name) -> KerasTensor:
    if activation is None:
        return x
    return keras.layers.Activation(activation, name=f"{_names(name)[0]}_act")(x)
