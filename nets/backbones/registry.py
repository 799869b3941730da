"""The registry of backbones: a decorated function is available to all scripts as a backbone."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import KerasTensor

from nets.conventions import Convention
from nets.layers import Layers
from nets.pretrained import KerasApplication, LayerNames, TorchFiles
from nets.versions import check_input_size

Features = tuple[KerasTensor, KerasTensor, KerasTensor]


@dataclass(frozen=True)
class BackboneSpec:
    """A registered backbone and everything that belongs to it.

    Attributes:
        name: Its name in `--backbone`.
        trunk: Called as `trunk(x, width=..., layers=...)` with scaled images (B, H, W, 3) and
            `Layers` of a convention; returns the features of strides 8, 16 and 32.
        conventions: What the weights of each library assume, by `keras`, `timm`, `torchvision` or
            `darknet`; the first one is used for random weights.
        widths: Width multipliers that are supported.
        default_width: The width that is used if none is given.
        neck_channels: Channels of the levels of a v3 neck at width 1; None for those of the
            features.
        top: Called as `top(feat3, width=..., layers=..., classes=...)`; returns the logits
            (B, classes) of the published classifier. None if there is none.
        pretrained: Where ImageNet weights are published; None if they are not.
        layer_names: Names of the layers, for weights of timm and torchvision; None if layers
            have the same names as in the library that publishes the weights.
        aliases: Other names for `--backbone`.
    """

    name: str
    trunk: Callable[..., Features]
    conventions: Mapping[str, Convention]
    widths: tuple[float, ...] = (1.0,)
    default_width: float = 1.0
    neck_channels: tuple[int, int, int] | None = None
    top: Callable[..., KerasTensor] | None = None
    pretrained: KerasApplication | TorchFiles | None = None
    layer_names: LayerNames | None = None
    aliases: tuple[str, ...] = ()


_SPECS: dict[str, BackboneSpec] = {}
_ALIASES: dict[str, str] = {}


def register(name: str, **fields: Any) -> Callable[[Callable[..., Features]], Callable]:
    """Registers the decorated function as the trunk of a backbone.

    Args:
        name: Its name in `--backbone`.
        **fields: Other fields of `BackboneSpec`.

    Raises:
        ValueError: The name is taken.
    """
    if name in _SPECS:
        raise ValueError(f"backbone {name} is registered twice; give one of them another name")

    def decorate(trunk: Callable[..., Features]) -> Callable[..., Features]:
        spec = BackboneSpec(name, trunk, **fields)
        _SPECS[name] = spec
        _ALIASES.update(dict.fromkeys(spec.aliases, name))
        return trunk

    return decorate


def list_backbones() -> list[str]:
    """Returns the names of all backbones, sorted, without aliases."""
    return sorted(_SPECS)


def resolve(name: str) -> BackboneSpec:
    """Returns the backbone with a name or alias.

    Raises:
        ValueError: There is none. The message suggests the most similar name.
    """
    spec = _SPECS.get(_ALIASES.get(name, name))
    if spec is None:
        near = difflib.get_close_matches(name.lower(), [*_SPECS, *_ALIASES], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"no backbone {name!r}; {hint}choose one of {', '.join(list_backbones())}")
    return spec


def build_backbone(
    name: str,
    input_shape: tuple[int, int, int] = (416, 416, 3),
    width: float | None = None,
    convention: str | Convention | None = None,
) -> keras.Model:
    """Builds a feature extractor with random weights.

    Args:
        name: A registered name or alias.
        input_shape: Height and width in pixels, multiples of 32, and 3 channels.
        width: Width multiplier; None for the backbone's default.
        convention: Name of one of the backbone's conventions, or a convention; None for the
            backbone's first.

    Returns:
        Model "backbone" from RGB images (B, H, W, 3) in 0..255 to a list of three features, of
        strides 8, 16 and 32.

    Raises:
        ValueError: The name, width or convention is unknown, or a side is not a multiple of 32.
    """
    images, features, _ = _build(resolve(name), input_shape, width, convention)
    return keras.Model(images, list(features), name="backbone")


def build_classifier(
    name: str,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    width: float | None = None,
    convention: str | Convention | None = None,
    classes: int = 1000,
) -> keras.Model:
    """Builds the classifier that the backbone is published as, with random weights.

    Its layers are those of `build_backbone`, under the same names, followed by the top.

    Args:
        name: A registered name or alias.
        input_shape: Height and width in pixels, multiples of 32, and 3 channels.
        width: Width multiplier; None for the backbone's default.
        convention: As in `build_backbone`.
        classes: Number of logits; 1000 for ImageNet.

    Returns:
        Model "classifier" from RGB images (B, H, W, 3) in 0..255 to logits (B, classes).

    Raises:
        ValueError: As in `build_backbone`, or the backbone has no top.
    """
    spec = resolve(name)
    if spec.top is None:
        raise ValueError(f"backbone {spec.name} has no classifier")
    images, features, context = _build(spec, input_shape, width, convention)
    logits = spec.top(features[-1], classes=classes, **context)
    return keras.Model(images, logits, name="classifier")


def usable_width(spec: BackboneSpec, width: float | None) -> float:
    """Returns a width, or the backbone's default if it is None.

    Raises:
        ValueError: The backbone does not exist in this width.
    """
    width = spec.default_width if width is None else width
    if width not in spec.widths:
        raise ValueError(
            f"backbone {spec.name} has no width {width:g}; "
            f"choose among {', '.join(map(str, spec.widths))}"
        )
    return width


def convention_named(spec: BackboneSpec, convention: str | Convention | None) -> Convention:
    """Looks up a convention by its name; None selects the first one of the backbone.

    A `Convention` is returned as it is.

    Raises:
        ValueError: The backbone has no convention of this name.
    """
    if isinstance(convention, Convention):
        return convention
    if convention is None:
        return next(iter(spec.conventions.values()))
    if convention not in spec.conventions:
        raise ValueError(
            f"backbone {spec.name} has no convention {convention!r}; "
            f"choose among {', '.join(spec.conventions)}"
        )
    return spec.conventions[convention]


def _build(
    spec: BackboneSpec,
    input_shape: tuple[int, int, int],
    width: float | None,
    convention: str | Convention | None,
) -> tuple[KerasTensor, Features, dict]:
    """Returns input, features, and the keyword arguments that trunk and top share."""
    *size, channels = input_shape
    check_input_size(size)
    if channels != 3:
        raise ValueError(f"{channels} input channels; backbone {spec.name} takes 3")
    context = {
        "width": usable_width(spec, width),
        "layers": Layers(convention_named(spec, convention)),
    }
    images = keras.Input((*size, 3), name="images")
    return images, spec.trunk(context["layers"].scale(images), **context), context
