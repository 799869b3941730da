"""Weights to start from: ImageNet's, a torchvision checkpoint, or those of an earlier run."""

import contextlib
import pickle
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import keras
import numpy as np

from nets.backbones import Convention, resolve
from nets.backbones.transfer import copy_by_name
from utils.config import RunConfig
from utils.errors import UserError

TORCH_SUFFIXES = (".pth", ".pt")
CONNECT_SECONDS = 10.0  # without a network a download must fail soon, not hang

# keras.applications' name of each backbone whose ImageNet weights Keras downloads.
APPLICATIONS = {
    "mobilenetv1": "MobileNet",
    "mobilenetv2": "MobileNetV2",
    "mobilenetv3_large": "MobileNetV3Large",
    "mobilenetv3_small": "MobileNetV3Small",
    **{f"efficientnetb{n}": f"EfficientNetB{n}" for n in range(8)},
}

# A torch module's tensors in the order of a Keras layer's weights.
TORCH_PARTS = ("weight", "bias", "running_mean", "running_var")

# A file's tensors: "layer/index of the weight" -> its name in the file, its values.
Tensors = dict[str, tuple[str, np.ndarray]]


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


def convention_of(source: str) -> str | Convention:
    """The convention that a network must be built with for the weights of `source`.

    Args:
        source: what `load_weights` takes. A file in a run directory has that run's convention.

    Raises:
        UserError: the config beside the file is damaged.
    """
    path = Path(source)
    if path.suffix in TORCH_SUFFIXES:
        return "torch"
    config = path.with_name("config.json")
    if path.suffix == ".h5" and config.is_file():
        return RunConfig.load(config).convention
    return "keras"


def load_weights(
    model: keras.Model, source: str, backbone: str, width: float | None = None
) -> WeightsReport:
    """Loads weights into a network that was built with `convention_of(source)`.

    The backbone is filled as a whole or not at all; the layers of a detector behind it are filled
    as far as they fit. Everything is checked before the first tensor changes.

    Args:
        model: a detector, a backbone or a classifier.
        source: `none`; `imagenet`, which Keras downloads; `auto`, the same but a warning where it
            cannot be had; or a file: `.h5` as Keras writes it, or torchvision's `.pth`.
        backbone: name of the backbone.
        width: its width factor, the default one if None.

    Raises:
        UserError: ImageNet weights cannot be had, or the file is missing, damaged, dangerous or
            of another backbone.
    """
    spec = resolve(backbone)
    width = spec.default_width if width is None else width
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
    if path.suffix in TORCH_SUFFIXES:
        tensors, skipped = _read_torchvision(path, backbone)
    elif path.suffix == ".h5":
        tensors = _read_h5(path)
    else:
        raise UserError(f"{path} is not a kind of weights known here, use .h5, .pth or .pt")

    trunk = {id(weight) for weight in _trunk(model).weights}
    fitting = []
    for layer in _layers(model):
        for index, weight in enumerate(layer.weights):
            name, values = tensors.pop(f"{layer.name}/{index}", (weight.path, None))
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


def _trunk(model: keras.Model) -> keras.Model:
    return getattr(model, "backbone", model)


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _read_h5(path: Path) -> Tensors:
    """Reads a file of Keras 3 (`.weights.h5`) or of Keras 2, such as those Keras downloads."""
    tensors = {}
    try:
        with h5py.File(path) as file:
            if "layer_names" in file.attrs:
                for layer in file.attrs["layer_names"]:
                    for index, name in enumerate(file[layer].attrs["weight_names"]):
                        tensors[f"{layer}/{index}"] = (name, file[layer][name][()])
                return tensors

            def visit(name: str, group: h5py.Group | h5py.Dataset) -> None:
                if name.endswith("vars") and "name" in group.attrs:
                    for index, values in group.items():
                        key = f"{group.attrs['name']}/{index}"
                        tensors[key] = (key, values[()])

            file.visititems(visit)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}), get it again") from error
    return tensors


def _read_torchvision(path: Path, backbone: str) -> tuple[Tensors, list[tuple[str, str]]]:
    """Reads a state dict of torchvision's model in Keras' names and layouts.

    Returns:
        The tensors, and those that no layer has a use for, each with the reason.
    """
    if backbone != "mobilenetv2":
        raise UserError(f"{path}: of torchvision's checkpoints only mobilenetv2's can be read")
    names = _torchvision_mobilenetv2()
    tensors, skipped = {}, []
    for name, values in _read_state_dict(path).items():
        module, _, part = name.rpartition(".")
        if part == "num_batches_tracked":
            skipped.append((name, "counters for training on"))
        elif module not in names or part not in TORCH_PARTS:
            skipped.append((name, "not part of this network"))
        else:
            key = f"{names[module]}/{TORCH_PARTS.index(part)}"
            tensors[key] = (name, _from_torch_layout(values))
    return tensors, skipped


def _read_state_dict(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(f"reading {path} takes torch, install it: pip install torch") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path} would run code when loaded ({code[1]}), use a file of tensors only"
            ) from error
        raise UserError(f"{path} is damaged, get it again") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged, get it again") from error
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise UserError(f"{path} is no state dict of tensors, save model.state_dict()")
    return {name: tensor.numpy() for name, tensor in state.items()}


def _from_torch_layout(values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:  # out, in -> in, out
        return values.T
    if values.ndim == 4 and values.shape[1] == 1:  # depthwise: channel, 1, H, W -> H, W, channel, 1
        return values.transpose(2, 3, 0, 1)
    if values.ndim == 4:  # out, in, H, W -> H, W, in, out
        return values.transpose(2, 3, 1, 0)
    return values


def _torchvision_mobilenetv2() -> dict[str, str]:
    """From torchvision's modules to layers, see torchvision/models/mobilenetv2.py."""
    layers = {
        "features.0.0": "Conv1",
        "features.0.1": "bn_Conv1",
        "features.18.0": "Conv_1",
        "features.18.1": "Conv_1_bn",
        "classifier.1": "predictions",
    }
    for index in range(17):
        block = f"block_{index}" if index else "expanded_conv"
        steps = ["expand", "depthwise", "project"] if index else ["depthwise", "project"]
        for position, step in enumerate(steps):
            # The projection has no activation, so torchvision does not wrap it.
            module = f"features.{index + 1}.conv.{position}"
            norm = f"features.{index + 1}.conv.{position + 1}"
            conv, norm = (module, norm) if step == "project" else (f"{module}.0", f"{module}.1")
            layers[conv] = f"{block}_{step}"
            layers[norm] = f"{block}_{step}_BN"
    return layers
