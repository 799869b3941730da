"""Which backbones there are: one decorated function makes one known everywhere."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
from keras import KerasTensor

from nets.conventions import Convention
from nets.layers import Layers

Features = tuple[KerasTensor, KerasTensor, KerasTensor]


@dataclass(frozen=True)
class BackboneSpec:
    """A registered backbone.

    Attributes:
        name: what `--backbone` takes.
        widths: the channel multipliers it exists in.
        default_width: the one taken if none is asked for.
        conventions: by name, how the weights that exist for it want their graph; the first is that
            of a network that starts from random ones.
        neck_channels: of the levels of a v3 neck over it at width 1; None for its features'.
        trunk: scaled images -> features of strides 8, 16 and 32.
        top: last feature -> class logits, for its published classifier; None if it has none.
    """

    name: str
    widths: tuple[float, ...]
    default_width: float
    conventions: Mapping[str, Convention]
    neck_channels: tuple[int, int, int] | None
    trunk: Callable[..., Features]
    top: Callable[..., KerasTensor] | None


_SPECS: dict[str, BackboneSpec] = {}
_ALIASES: dict[str, str] = {}


def register(
    name: str,
    *,
    conventions: Mapping[str, Convention],
    widths: tuple[float, ...] = (1.0,),
    default_width: float = 1.0,
    neck_channels: tuple[int, int, int] | None = None,
    top: Callable[..., KerasTensor] | None = None,
    aliases: tuple[str, ...] = (),
) -> Callable[[Callable[..., Features]], Callable[..., Features]]:
    """Register the decorated function as the trunk of a backbone.

    The trunk is called as `trunk(x, width=..., layers=...)` with scaled images (B, H, W, 3) and
    `Layers` bound to a convention, and returns its features of strides 8, 16 and 32. `top` is
    called as `top(feat3, width=..., layers=..., classes=...)` and returns logits (B, classes).

    Raises:
        ValueError: the name is taken.
    """
    if name in _SPECS:
        raise ValueError(f"backbone {name} is registered twice; give one of them another name")

    def decorate(trunk: Callable[..., Features]) -> Callable[..., Features]:
        _SPECS[name] = BackboneSpec(
            name, widths, default_width, conventions, neck_channels, trunk, top
        )
        _ALIASES.update(dict.fromkeys(aliases, name))
        return trunk

    return decorate


def list_backbones() -> list[str]:
    """Names of all backbones, sorted, without aliases."""
    return sorted(_SPECS)


def resolve(name: str) -> BackboneSpec:
    """The backbone of that name or alias.

    Raises:
        ValueError: there is none; names the nearest.
    """
    spec = _SPECS.get(_ALIASES.get(name, name))
    if spec is None:
        near = difflib.get_close_matches(name.lower(), [*_SPECS, *_ALIASES], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"no backbone {name!r}; {hint}there are {', '.join(list_backbones())}")
    return spec


def build_backbone(
    name: str,
    input_shape: tuple[int, int, int] = (416, 416, 3),
    width: float | None = None,
    convention: str | Convention | None = None,
) -> keras.Model:
    """Build a feature extractor with random weights.

    Args:
        name: a registered name or alias.
        input_shape: height and width in pixels, multiples of 32, and 3 channels.
        width: channel multiplier, the backbone's default if None.
        convention: a name among the backbone's conventions, or one made for special weights; the
            backbone's first if None.

    Returns:
        Model "backbone" from RGB images (B, H, W, 3) of 0..255 to a list of three features, of
        strides 8, 16 and 32.

    Raises:
        ValueError: unknown name, width or convention, or a size that is no multiple of 32.
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
    """Build the classifier that the backbone is published as, with random weights.

    Its layers are those of `build_backbone`, by the same names, and the top above them.

    Args:
        name: as for `build_backbone`, and so are the next three.
        input_shape: height and width, multiples of 32, and 3 channels.
        width: channel multiplier.
        convention: convention of the weights.
        classes: number of logits; 1000 for ImageNet.

    Returns:
        Model "classifier" from RGB images (B, H, W, 3) of 0..255 to logits (B, classes).

    Raises:
        ValueError: as `build_backbone`, or the backbone was registered without a top.
    """
    spec = resolve(name)
    if spec.top is None:
        raise ValueError(f"backbone {spec.name} was registered without a top to classify with")
    images, features, context = _build(spec, input_shape, width, convention)
    logits = spec.top(features[-1], classes=classes, **context)
    return keras.Model(images, logits, name="classifier")


def usable_width(spec: BackboneSpec, width: float | None) -> float:
    """The width that is meant: itself, or the backbone's default.

    Raises:
        ValueError: the backbone does not exist in it.
    """
    width = spec.default_width if width is None else width
    if width not in spec.widths:
        raise ValueError(
            f"backbone {spec.name} has no width {width:g}; "
            f"choose among {', '.join(map(str, spec.widths))}"
        )
    return width


def convention_named(spec: BackboneSpec, convention: str | Convention | None) -> Convention:
    """The convention that is meant: itself, the one of that name, or the backbone's first.

    Raises:
        ValueError: the backbone has none of that name.
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
    """Input, features, and the keyword arguments that trunk and top share."""
    height, wide, channels = input_shape
    if height % 32 or wide % 32 or channels != 3:
        raise ValueError(
            f"input shape {tuple(input_shape)} of backbone {spec.name}: "
            "height and width must be multiples of 32, channels 3"
        )
    context = {
        "width": usable_width(spec, width),
        "layers": Layers(convention_named(spec, convention)),
    }
    images = keras.Input((height, wide, 3), name="images")
    return images, spec.trunk(context["layers"].scale(images), **context), context
