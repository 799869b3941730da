"""Weights to start from: ImageNet's, those of another project, or those of an earlier run."""

import contextlib
import dataclasses
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from nets.backbones import BackboneSpec, convention_named, resolve, usable_width
from nets.conventions import Convention
from utils.config import RunConfig
from utils.errors import UserError
from utils.weights.backbone_file import read_header
from utils.weights.downloads import PUBLISHED, fetch
from utils.weights.tensorfiles import TORCH_SUFFIXES, LayerTensors, read_h5, read_torch
from utils.weights.torch_names import is_timm, modules_of, translate
from utils.weights.transfer import copy_by_name, weights_by_key

CONNECT_SECONDS = 10.0  # without a network a download must fail soon, not hang

# keras.applications' name of each backbone whose ImageNet weights Keras downloads.
APPLICATIONS = {
    "mobilenetv1": "MobileNet",
    "mobilenetv2": "MobileNetV2",
    "mobilenetv3_large": "MobileNetV3Large",
    "mobilenetv3_small": "MobileNetV3Small",
    **{f"efficientnetb{n}": f"EfficientNetB{n}" for n in range(8)},
}

# Of torchvision's models these normalize with Keras' epsilon (norm_layer in their files); all other
# models of torchvision and timm with torch's, which is the backbones' convention "torch".
TORCHVISION_EPSILON = 1e-3
TORCHVISION_EPSILON_OF = (
    "mobilenetv3_large",
    "mobilenetv3_small",
    "efficientnetb5",
    "efficientnetb6",
    "efficientnetb7",
)
# timm's recipes of these scale pixels to -1..1 instead of by ImageNet's mean and deviation.
TIMM_PLAIN_SCALE = ("mobilenetv1",)


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded.

    Attributes:
        source: `imagenet`, `none` or a file.
        loaded: paths of the network's tensors that now hold the source's values.
        skipped: tensors of either side without a counterpart, each with the reason.
        warning: why the weights stayed random though others were wished for.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warning: str = ""

    @property
    def message(self) -> str:
        """The report in words, a line for every reason."""
        if self.warning:
            return f"warning: {self.warning}; training starts from random weights"
        if not self.loaded:
            return "weights: random"
        lines = [f"weights: {len(self.loaded)} tensors loaded from {self.source}"]
        for reason in dict.fromkeys(reason for _, reason in self.skipped):
            names = [name for name, why in self.skipped if why == reason]
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            lines.append(f"  {len(names)} not loaded, {reason}: {shown}")
        return "\n".join(lines)


def convention_of(source: str, backbone: str) -> Convention:
    """The convention that a network must be built with for the weights of `source`.

    Args:
        source: what `load_weights` takes. With `auto` and `imagenet` the backbone decides, whether
            or not its weights can be had. A file in a run directory has that run's convention; one
            beside the `config.json` of a timm model on the Hugging Face hub scales pixels as that
            says.
        backbone: name of the backbone.

    Raises:
        UserError: the file, or the config beside it, cannot be read, or weights of that kind are
            not known of that backbone.
    """
    path, spec = Path(source), resolve(backbone)
    if source in ("auto", "imagenet") and spec.name in PUBLISHED:
        return spec.conventions["torch"]
    if not path.name:
        raise UserError(f"no weights file {source!r}, name one, or auto, imagenet or none")
    if header := read_header(path):
        return header.convention
    config = path.with_name("config.json")
    if path.suffix in TORCH_SUFFIXES:
        return _torch_convention(path, config, spec)
    if path.suffix == ".h5" and config.is_file():
        return RunConfig.load(config).convention
    if path.suffix == ".h5":
        return _convention(spec, "keras", path)
    return convention_named(spec, None)


def origin_of(path: Path) -> str:
    """Whose names the tensors of a file bear: `timm` or `torchvision`.

    Raises:
        UserError: the file cannot be read.
    """
    return "timm" if is_timm(modules_of(read_torch(path))) else "torchvision"


def _convention(spec: BackboneSpec, name: str, path: Path) -> Convention:
    if name not in spec.conventions:
        raise UserError(f"{path} is a file of {name}, {spec.name} has no such weights: use another")
    return spec.conventions[name]


def _torch_convention(path: Path, config: Path, spec: BackboneSpec) -> Convention:
    convention = _convention(spec, "torch", path)
    if origin_of(path) == "torchvision":
        if spec.name in TORCHVISION_EPSILON_OF:
            convention = dataclasses.replace(convention, bn_epsilon=TORCHVISION_EPSILON)
        return convention
    scale = {"mean": (0.5,) * 3, "std": (0.5,) * 3} if spec.name in TIMM_PLAIN_SCALE else {}
    if config.is_file():
        try:
            scale = json.loads(config.read_text(encoding="utf-8")).get("pretrained_cfg", scale)
        except ValueError as error:
            raise UserError(f"{config} is damaged ({error}), get it again") from error
    of_255 = {key: tuple(255 * v for v in scale[key]) for key in ("mean", "std") if key in scale}
    return dataclasses.replace(convention, **of_255)


def load_weights(
    model: keras.Model, source: str, backbone: str, width: float | None = None
) -> WeightsReport:
    """Loads weights into a network that was built with `convention_of(source)`.

    The backbone is filled as a whole or not at all; the layers of a detector behind it are filled
    as far as they fit. Everything is checked before the first tensor changes.

    Args:
        model: a detector, a backbone or a classifier.
        source: `none`; `imagenet`, which is downloaded; `auto`, the same but a warning where it
            cannot be had; or a file: `.h5` as Keras writes it, `.safetensors` or `.pth`
            of timm or torchvision.
        backbone: name of the backbone.
        width: its width factor, the default one if None.

    Raises:
        UserError: ImageNet weights cannot be had, or the file is missing, damaged, dangerous or
            of another backbone.
    """
    spec = resolve(backbone)
    width = usable_width(spec, width)
    if source == "none":
        return WeightsReport("none")
    if source == "imagenet":
        return _load_imagenet(model, spec.name, width)
    if source == "auto":
        try:
            return _load_imagenet(model, spec.name, width)
        except UserError as error:
            return WeightsReport("none", warning=str(error))
    return _load_file(model, Path(source), spec.name)


def _load_imagenet(model: keras.Model, backbone: str, width: float) -> WeightsReport:
    if backbone in PUBLISHED:
        files = PUBLISHED[backbone]
        if width not in files:
            widths = ", ".join(f"{known:g}" for known in files)
            raise UserError(
                f"no ImageNet weights are published for {backbone} of width {width:g}, "
                f"use width {widths}, a file or none"
            )
        with _impatient_sockets():
            path = fetch(files[width])
        return dataclasses.replace(_load_file(_trunk(model), path, backbone), source="imagenet")
    if backbone not in APPLICATIONS:
        raise UserError(f"no ImageNet weights to download for {backbone}, use a file or none")
    options = {} if backbone.startswith("efficientnet") else {"alpha": width}
    build = getattr(keras.applications, APPLICATIONS[backbone])
    try:
        with _impatient_sockets(), contextlib.redirect_stdout(sys.stderr):
            source = build(
                input_shape=(224, 224, 3), include_top=False, weights="imagenet", **options
            )
    except Exception as error:
        # A failed download is a bare Exception of Keras, or one of the socket's own.
        if type(error) is not Exception and not isinstance(error, OSError):
            raise
        raise UserError(f"no ImageNet weights for {backbone}: {error}") from error
    trunk = _trunk(model)
    layers, missing = copy_by_name(source, trunk)
    loaded = [weight.path for name in layers for weight in trunk.get_layer(name).weights]
    return WeightsReport("imagenet", loaded, [(name, "unknown to Keras") for name in missing])


@contextlib.contextmanager
def _impatient_sockets() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load_file(model: keras.Model, path: Path, backbone: str) -> WeightsReport:
    if not path.is_file():
        raise UserError(f"no weights file {path}, give auto, imagenet, none or a file that exists")
    skipped = []
    if header := read_header(path):
        if header.backbone != backbone:
            raise UserError(
                f"{path} has weights of {header.backbone}, train with --backbone of that"
            )
        tensors = {name: (name, values) for name, values in read_torch(path).items()}
    elif path.suffix in TORCH_SUFFIXES:
        tensors, skipped = translate(read_torch(path), backbone)
    elif path.suffix == ".h5":
        tensors = read_h5(path)
    else:
        raise UserError(
            f"{path} is not a kind of weights known here, use .h5, .safetensors or .pth"
        )

    trunk = {id(weight) for weight in _trunk(model).weights}
    fitting = []
    for key, weight in weights_by_key(model).items():
        name, values = tensors.pop(key, (weight.path, None))
        if values is None:
            reason = detail = "not in the file"
        elif values.shape != tuple(weight.shape):
            reason = "of another shape in the file"
            detail = f"{values.shape} in the file, {tuple(weight.shape)} in the network"
        elif not np.isfinite(values).all():
            raise UserError(f"{path} is damaged: {name} holds NaN or infinity, get it again")
        else:
            fitting.append((weight, values))
            continue
        if id(weight) in trunk:
            raise UserError(
                f"{path} does not fit {backbone}: {name} is {detail}, "
                "name the backbone and width that the file was made for"
            )
        skipped.append((weight.path, reason))
    skipped += [(name, "not part of this network") for name, _ in tensors.values()]
    for weight, values in fitting:
        weight.assign(values)
    return WeightsReport(str(path), [weight.path for weight, _ in fitting], skipped)


def load_exactly(model: keras.Model, tensors: LayerTensors, path: Path) -> None:
    """Fills a network with tensors that are its own: each there, none besides, or none is taken.

    Raises:
        UserError: names the tensor that does not match.
    """
    weights = weights_by_key(model)
    for key, weight in weights.items():
        if key not in tensors:
            raise UserError(f"{path} lacks {weight.path}, it is not whole or of another network")
        name, values = tensors[key]
        if values.shape != tuple(weight.shape):
            shapes = f"{values.shape} in the file, {tuple(weight.shape)} in the network"
            raise UserError(f"{path} does not fit: {name} is {shapes}")
        if not np.isfinite(values).all():
            raise UserError(f"{path} is damaged: {name} holds NaN or infinity, get it again")
    if extra := [name for key, (name, _) in tensors.items() if key not in weights]:
        raise UserError(f"{path} has a tensor too many: {extra[0]}")
    for key, weight in weights.items():
        weight.assign(tensors[key][1])


def _trunk(model: keras.Model) -> keras.Model:
    return getattr(model, "backbone", model)
