"""The convolution blocks that necks and heads are built from."""

from dataclasses import dataclass

from keras import KerasTensor

from nets.layers import Activation, Layers, leaky_relu

ACTIVATIONS: dict[str, Activation] = {"leaky_relu": leaky_relu, "relu6": "relu6"}


@dataclass(frozen=True)
class ConvBlocks:
    """Convolutions of one style: each is convolution without bias, batch norm, activation.

    Attributes:
        layers: bound to the convention that the backbone has, too.
        conv: `plain`, or `separable` for a depthwise 3x3 followed by a pointwise 1x1.
        activation: `leaky_relu` (slope 0.1) or `relu6`.
    """

    layers: Layers
    conv: str
    activation: str

    def __post_init__(self) -> None:
        if self.conv not in ("plain", "separable"):
            raise ValueError(f"conv is {self.conv!r}; use plain or separable")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation is {self.activation!r}; use leaky_relu or relu6")

    def conv1x1(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """Mixes channels: (B, h, w, c) -> (B, h, w, filters)."""
        return self._conv2d(x, filters, 1, 1, name)

    def conv3x3(
        self,
        x: KerasTensor,
        filters: int,
        name: str,
        strides: int = 1,
        offset: float | None = None,
    ) -> KerasTensor:
        """Mixes neighbours: (B, h, w, c) -> (B, h / strides, w / strides, filters).

        `offset` is where that of the last normalization starts from, if not as everywhere.
        """
        if self.conv == "plain":
            return self._conv2d(x, filters, 3, strides, name, offset)
        activation = ACTIVATIONS[self.activation]
        x = self.layers.depthwise(x, 3, strides, activation, name=f"{name}_depthwise")
        return self._conv2d(x, filters, 1, 1, f"{name}_pointwise", offset)

    def five(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """Five convolutions, 1x1 and 3x3 in turn, as after each fusion in YOLOv3 and v4."""
        x = self.conv1x1(x, filters, f"{name}_1")
        x = self.conv3x3(x, 2 * filters, f"{name}_2")
        x = self.conv1x1(x, filters, f"{name}_3")
        x = self.conv3x3(x, 2 * filters, f"{name}_4")
        return self.conv1x1(x, filters, f"{name}_5")

    def _conv2d(
        self,
        x: KerasTensor,
        filters: int,
        kernel: int,
        strides: int,
        name: str,
        offset: float | None = None,
    ) -> KerasTensor:
        activation = ACTIVATIONS[self.activation]
        names = {"name": f"{name}_conv", "bn": f"{name}_bn"}
        return self.layers.conv(x, filters, kernel, strides, activation, **names, offset=offset)
