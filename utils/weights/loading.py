"""Weights to start from: ImageNet's, those of another project, or those of an earlier run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import keras

from nets.backbones import BackboneSpec, convention_named, resolve, usable_width
from nets.conventions import Convention
from nets.head import is_output
from nets.pretrained import TorchFiles
from utils.errors import JobError, UserError
from utils.layer_tensors import LayerTensors, require_finite, weights_by_key
from utils.weights.backbone_file import read_backbone
from utils.weights.conventions import published_convention, require_backbone, run_convention
from utils.weights.imagenet import check_published, read_imagenet
from utils.weights.legacy_keras import is_predecessors
from utils.weights.sources import AUTO, IMAGENET, NONE, TORCH_SUFFIXES, check_file
from utils.weights.tensorfiles import has_layer_names, read_h5, read_torch
from utils.weights.torch_names import library_of, modules_of, translate
from utils.weights_file import read_detector


@dataclass(frozen=True)
class Contents:
    """The tensors of a source.

    Attributes:
        tensors: Tensors under the names of our layers.
        unused: Names of other tensors, each with the reason why no layer uses it.
        warning: Why there are no tensors although some were requested; empty otherwise.
    """

    tensors: LayerTensors = field(default_factory=dict)
    unused: list[tuple[str, str]] = field(default_factory=list)
    warning: str = ""


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights to start from, each source read once.

    Attributes:
        source: `imagenet`, `none` or the path of a file.
        backbone: Name of the backbone.
        library: Library that published the weights, a key into the conventions of the backbone;
            None for random weights and files of this project.
        convention: Convention that a network must be built with to use the weights.
        classes: Names of the classes that the output layers predict, by label; empty if there are
            no such layers, or if the names are not known.
        read: Reads the contents; called when they are first needed, since it may download.
    """

    source: str
    backbone: str
    library: str | None
    convention: Convention
    read: Callable[[], Contents]
    classes: tuple[str, ...] = ()

    @cached_property
    def contents(self) -> Contents:
        """The tensors and what was found beside them.

        Raises:
            UserError: ImageNet weights are required and cannot be downloaded.
            JobError: The same, because the disk is full or fails.
        """
        return self.read()

    @property
    def tensors(self) -> LayerTensors:
        """Tensors under the names of our layers; empty for random weights."""
        return self.contents.tensors


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded.

    Attributes:
        source: `imagenet`, `none` or the path of a file.
        loaded: Paths of the variables that now hold values of the source.
        skipped: Variables and tensors without a counterpart, each with the reason.
        warning: Why the weights stayed random although others were requested; empty otherwise.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warning: str = ""

    @property
    def message(self) -> str:
        """The report as text, one line per reason."""
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


def resolve_backbone(backbone: str, width: float | None) -> tuple[str, float]:
    """Returns the registered name of a backbone, without aliases, and its width multiplier.

    Args:
        backbone: Name or alias that the user gave.
        width: Width multiplier that the user gave; None for the backbone's default.

    Raises:
        UserError: There is no such backbone, or it does not exist in this width.
    """
    try:
        spec = resolve(backbone)
        return spec.name, usable_width(spec, width)
    except ValueError as error:
        raise UserError(str(error)) from error


def open_weights(source: str, backbone: str, width: float | None = None) -> Weights:
    """Opens the weights that a network starts from. Files are read now, downloads start later.

    Args:
        source: `none`; `imagenet`, which is downloaded; `auto`, the same, but with a warning
            instead of an error if that fails; or the path of a file, see `open_file`.
        backbone: Name of the backbone.
        width: Width multiplier; None for the backbone's default.

    Raises:
        UserError: A file is missing, damaged, dangerous, or of another backbone.
    """
    spec = resolve(backbone)
    if source == NONE:
        return Weights(NONE, spec.name, None, convention_named(spec, None), Contents)
    if source in (AUTO, IMAGENET):
        return _open_imagenet(spec, usable_width(spec, width), required=source == IMAGENET)
    return open_file(Path(source), backbone)


def open_file(path: Path, backbone: str) -> Weights:
    """Opens a file of weights.

    Args:
        path: `.h5` as Keras writes it, or `.safetensors`, `.pth` or `.pt` of this project, timm,
            torchvision or EfficientNet-PyTorch. Files of this project say what their weights
            assume; for a `.h5` of earlier versions, the config.json beside it does, and for a file
            of timm, the config.json of its page on the Hugging Face hub.
        backbone: Name of the backbone.

    Raises:
        UserError: The file is missing, damaged, dangerous, of another backbone, a detector of a
            predecessor, or does not say what its weights assume.
    """
    spec = resolve(backbone)
    classes: tuple[str, ...] = ()
    check_file(path)
    if found := read_backbone(path):
        header, tensors = found
        require_backbone(header.backbone, spec, path)
        library, convention = None, header.convention
        contents = Contents({key: (key, values) for key, values in tensors.items()})
    elif path.suffix in TORCH_SUFFIXES:
        state = read_torch(path)
        library = library_of(modules_of(state))
        convention = published_convention(library, spec, path)
        contents = Contents(*translate(state, spec.layer_names))
    elif has_layer_names(path):
        library, convention = "keras", published_convention("keras", spec, path)
        contents = Contents(read_h5(path))
        if is_predecessors(contents.tensors):
            raise UserError(
                f"{path} is a detector of efficientnet-yolo3-keras or mobilenet-yolov4-keras, "
                "which scale pixels differently: convert it with convert_weights.py, and use "
                "the best.weights.h5 of that run"
            )
    else:
        header, tensors = read_detector(path)
        library, convention = None, run_convention(header, spec, path)
        contents = Contents(tensors)
        classes = header.classes if header else ()
    return Weights(str(path), spec.name, library, convention, lambda: contents, classes)


def load_weights(
    model: keras.Model, weights: Weights, classes: Sequence[str] = ()
) -> WeightsReport:
    """Loads weights into a network that was built with their convention.

    The backbone is filled completely; the layers of a detector behind it are filled as far as they
    fit. The output layers are not filled if they predict other classes, or the same ones in another
    order. Everything is checked before the first variable changes.

    Args:
        model: A detector, a backbone or a classifier.
        weights: From `open_weights`.
        classes: Names of the classes of a detector, by label; empty if they are not known.

    Raises:
        UserError: The weights cannot be downloaded, or do not fit the backbone.
    """
    contents = weights.contents
    if weights.source == NONE or contents.warning:
        return WeightsReport(NONE, warning=contents.warning)
    trunk = getattr(model, "backbone", model)
    target = trunk if weights.source == IMAGENET else model
    in_trunk = {id(weight) for weight in trunk.weights}
    tensors, skipped = dict(weights.tensors), list(contents.unused)
    are_known = bool(classes and weights.classes)
    has_other_classes = are_known and tuple(classes) != weights.classes
    fitting = []
    for key, weight in weights_by_key(target).items():
        name, values = tensors.pop(key, (weight.path, None))
        if values is None:
            reason = detail = "not in the file"
        elif values.shape != tuple(weight.shape):
            reason = "of another shape in the file"
            detail = f"{values.shape} in the file, {tuple(weight.shape)} in the network"
        elif has_other_classes and is_output(key):
            reason = detail = "of other classes in the file"
        else:
            require_finite(values, name, weights.source)
            fitting.append((weight, values))
            continue
        if id(weight) in in_trunk:
            raise UserError(
                f"{weights.source} does not fit {weights.backbone}: {name} is {detail}, "
                "name the backbone and width that the file was made for"
            )
        skipped.append((weight.path, reason))
    skipped += [(name, "not part of this network") for name, _ in tensors.values()]
    for weight, values in fitting:
        weight.assign(values)
    return WeightsReport(weights.source, [weight.path for weight, _ in fitting], skipped)


def _open_imagenet(spec: BackboneSpec, width: float, required: bool) -> Weights:
    if required:
        check_published(spec, width)

    def read() -> Contents:
        try:
            return Contents(*read_imagenet(spec, width))
        except (UserError, JobError) as error:
            if required:
                raise
            return Contents(warning=str(error))

    published = spec.pretrained
    library = published.library if isinstance(published, TorchFiles) else "keras"
    # Without published weights, training starts from random ones under the first convention.
    convention = spec.conventions.get(library) or convention_named(spec, None)
    return Weights(IMAGENET, spec.name, library, convention, read)
