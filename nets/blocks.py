"""The convolution blocks that necks and heads are built from."""

from dataclasses import dataclass

from keras import KerasTensor, layers

from nets.backbones.layers import BN_OFFSET, batch_norm, kernel_initializer

LEAKY_RELU_SLOPE = 0.1  # Darknet's
BN_EPSILON = 1e-3  # Keras' default, which the predecessors' detectors were trained with


@dataclass(frozen=True)
class ConvBlocks:
    """Convolutions of one style: each is convolution without bias, batch norm, activation.

    Attributes:
        conv: `plain`, or `separable` for a depthwise 3x3 followed by a pointwise 1x1.
        activation: `leaky_relu` (slope 0.1) or `relu6`.
    """

    conv: str
    activation: str

    def __post_init__(self) -> None:
        if self.conv not in ("plain", "separable"):
            raise ValueError(f"conv is {self.conv!r}; use plain or separable")
        if self.activation not in ("leaky_relu", "relu6"):
            raise ValueError(f"activation is {self.activation!r}; use leaky_relu or relu6")

    def conv1x1(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """Mixes channels: (B, h, w, c) -> (B, h, w, filters)."""
        return self._conv2d(x, filters, 1, 1, name, BN_OFFSET)

    def conv3x3(
        self,
        x: KerasTensor,
        filters: int,
        name: str,
        strides: int = 1,
        offset: float = BN_OFFSET,
    ) -> KerasTensor:
        """Mixes neighbours: (B, h, w, c) -> (B, h / strides, w / strides, filters).

        `offset` is where that of the last normalization starts from.
        """
        if self.conv == "plain":
            return self._conv2d(x, filters, 3, strides, name, offset)
        x = layers.DepthwiseConv2D(
            3,
            strides,
            padding="same",
            use_bias=False,
            depthwise_initializer=kernel_initializer(),
            name=f"{name}_depthwise",
        )(x)
        x = self._normalise(x, f"{name}_depthwise", BN_OFFSET)
        return self._conv2d(x, filters, 1, 1, f"{name}_pointwise", offset)

    def five(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """Five convolutions, 1x1 and 3x3 in turn, as after each fusion in YOLOv3 and v4."""
        x = self.conv1x1(x, filters, f"{name}_1")
        x = self.conv3x3(x, 2 * filters, f"{name}_2")
        x = self.conv1x1(x, filters, f"{name}_3")
        x = self.conv3x3(x, 2 * filters, f"{name}_4")
        return self.conv1x1(x, filters, f"{name}_5")

    def _conv2d(
        self, x: KerasTensor, filters: int, kernel: int, strides: int, name: str, offset: float
    ) -> KerasTensor:
        x = layers.Conv2D(
            filters,
            kernel,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer=kernel_initializer(),
            name=f"{name}_conv",
        )(x)
        return self._normalise(x, name, offset)

    def _normalise(self, x: KerasTensor, name: str, offset: float) -> KerasTensor:
        x = batch_norm(x, offset=offset, epsilon=BN_EPSILON, name=f"{name}_bn")
        if self.activation == "relu6":
            return layers.ReLU(6.0, name=f"{name}_relu6")(x)
        return layers.LeakyReLU(LEAKY_RELU_SLOPE, name=f"{name}_leaky_relu")(x)
