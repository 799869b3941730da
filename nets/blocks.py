"""The convolution blocks that necks and heads are built from."""

from dataclasses import dataclass, replace
from typing import Literal

from keras import KerasTensor

from nets.layers import Activation, Layers, leaky_relu
from nets.versions import Conv

ACTIVATIONS: dict[str, Activation] = {"leaky_relu": leaky_relu, "relu6": "relu6"}


@dataclass(frozen=True)
class ConvBlocks:
    """Convolutions of one style, each without bias and followed by batch norm and activation.

    Attributes:
        layers: Layers of the same convention as the backbone.
        conv: `plain`, or `separable` for a depthwise convolution followed by a 1x1 one.
        activation: `leaky_relu` (slope 0.1) or `relu6`.
        kernel_size: Side of the spatial convolutions.
    """

    layers: Layers
    conv: Conv
    activation: Literal["leaky_relu", "relu6"]
    kernel_size: int = 3

    def conv1x1(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """1x1 convolution: (B, h, w, c) -> (B, h, w, filters)."""
        return self._conv(self.layers, x, filters, 1, 1, name)

    def spatial_conv(
        self,
        x: KerasTensor,
        filters: int,
        name: str,
        strides: int = 1,
        offset: float | None = None,
    ) -> KerasTensor:
        """Convolution over neighbours: (B, h, w, c) -> (B, h / strides, w / strides, filters).

        Args:
            x: Features.
            filters: Channels of the result.
            name: Prefix of the names of the layers.
            strides: 1 or 2.
            offset: Initial offset of the last normalization; None for that of `layers`.
        """
        last = self.layers if offset is None else replace(self.layers, offset=offset)
        if self.conv == "plain":
            return self._conv(last, x, filters, self.kernel_size, strides, name)
        activation = ACTIVATIONS[self.activation]
        x = self.layers.depthwise(
            x, self.kernel_size, strides, activation, name=f"{name}_depthwise"
        )
        return self._conv(last, x, filters, 1, 1, f"{name}_pointwise")

    def five_convs(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """Five alternating 1x1 and spatial convolutions, as after each fusion in YOLOv3 and v4."""
        x = self.conv1x1(x, filters, f"{name}_1")
        x = self.spatial_conv(x, 2 * filters, f"{name}_2")
        x = self.conv1x1(x, filters, f"{name}_3")
        x = self.spatial_conv(x, 2 * filters, f"{name}_4")
        return self.conv1x1(x, filters, f"{name}_5")

    def _conv(
        self, layers: Layers, x: KerasTensor, filters: int, kernel: int, strides: int, name: str
    ) -> KerasTensor:
        names = (f"{name}_conv", f"{name}_bn")
        return layers.conv(x, filters, kernel, strides, ACTIVATIONS[self.activation], name=names)
