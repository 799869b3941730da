"""Converts weights of other projects into files of this one, and runs into files of Darknet."""

import dataclasses
from pathlib import Path

import keras

from nets.backbones import build_backbone, convention_named, resolve
from utils.config import Recipe, RunConfig
from utils.data.classes import read_classes
from utils.errors import UserError
from utils.files import is_in_use, refuse_existing, written_whole
from utils.layer_tensors import load_exactly
from utils.run import RunDirectory, build_detector, load_run
from utils.weights import legacy_keras
from utils.weights.backbone_file import BackboneHeader, save_backbone
from utils.weights.darknet import reader, writer
from utils.weights.foreign import ForeignDetector
from utils.weights.loading import load_weights, open_file, resolve_backbone
from utils.weights.origins import TORCH_LIBRARIES, DetectorOrigin, TorchLibrary
from utils.weights_file import header_of, save_detector

SMALL_INPUT = (64, 64, 3)  # the weights of a backbone do not depend on the size


def convert_torch_backbone(
    source: Path,
    library: TorchLibrary,
    backbone: str,
    width: float | None,
    out: Path,
) -> str:
    """Writes a backbone of timm or torchvision as a file for `--weights`.

    Args:
        source: A `.safetensors`, `.pth` or `.pt`.
        library: Library that published the file.
        backbone: Registered name of the backbone.
        width: Width multiplier; None for the backbone's default.
        out: The `.safetensors` to write.

    Returns:
        A report as text.

    Raises:
        UserError: The file cannot be read or does not fit, or `out` exists; nothing is written.
    """
    refuse_existing(out)
    name, width = resolve_backbone(backbone, width)
    weights = open_file(source, name)
    if weights.library != library:
        raise UserError(
            f"tensors of {source} are named as in {weights.library}, use --from {weights.library}"
            if weights.library in TORCH_LIBRARIES
            else f"{source} needs no conversion, give it to train.py with --weights"
        )
    model = build_backbone(name, SMALL_INPUT, width, weights.convention)
    report = load_weights(model, weights)
    header = BackboneHeader(name, width, weights.convention, source.name)
    return f"{report.message}\n{_write_backbone(model, header, out)}"


def convert_darknet_backbone(
    source: Path, cfg: Path, backbone: str, width: float | None, out: Path
) -> str:
    """Writes the backbone of a Darknet detector as a file for `--weights`.

    Args:
        source: The `.weights`, or the first part of one, such as darknet53.conv.74.
        cfg: The `.cfg` of the whole detector.
        backbone: Registered name of the backbone.
        width: Width multiplier; None for the backbone's default.
        out: The `.safetensors` to write.

    Returns:
        A report as text.

    Raises:
        UserError: The files cannot be read or do not fit, or `out` exists; nothing is written.
    """
    refuse_existing(out)
    name, width = resolve_backbone(backbone, width)
    convention = convention_named(resolve(name), None)
    model = build_backbone(name, SMALL_INPUT, width, convention)
    tensors = reader.read_backbone(source, cfg, name)
    load_exactly(model, tensors, source)
    header = BackboneHeader(name, width, convention, source.name)
    return f"{len(tensors)} tensors loaded from {source}\n{_write_backbone(model, header, out)}"


def convert_detector(
    source: Path,
    origin: DetectorOrigin,
    classes_file: Path,
    out: Path,
    cfg: Path | None = None,
) -> str:
    """Writes a detector of another project as a run directory.

    Args:
        source: The `.h5` of a predecessor, or Darknet's `.weights`.
        origin: Project that the detector was trained with.
        classes_file: Names of the classes, one per line.
        out: The run directory to create.
        cfg: The `.cfg` of Darknet's weights; None for a predecessor's.

    Returns:
        A report as text.

    Raises:
        UserError: The files cannot be read or do not fit, or `out` is in use; nothing is written.
    """
    if is_in_use(out):
        raise UserError(f"{out} is not empty, name a new directory")
    classes = read_classes(classes_file)
    found = (
        reader.read_darknet(source, cfg)
        if origin == "darknet"
        else legacy_keras.read_legacy_keras(source, origin)
    )
    if found.num_classes != len(classes):
        raise UserError(
            f"{source} has {found.num_classes} classes and {classes_file} {len(classes)}, "
            "name the file of its classes"
        )
    _write_run(found, classes, source, out)
    return (
        f"{len(found.tensors)} tensors of {found.backbone} {found.yolo.name}, width "
        f"{found.width:g}, {len(classes)} classes\n"
        f"written {out}; predict with it: python predict.py SOURCE --run {out}"
    )


def write_darknet(run_directory: Path, out: Path) -> str:
    """Writes the detector of a run as `.weights`, `.cfg` and `.names`.

    Args:
        run_directory: Run of a detector with plain convolutions over a Darknet backbone.
        out: The `.weights` to write; the other files get the same name.

    Returns:
        A report as text.

    Raises:
        UserError: There is no such run, Darknet cannot compute its detector, or a file exists;
            nothing is written.
    """
    run = load_run(run_directory)
    cfg, names = writer.write_detector(run.detector, run.config.resize, run.classes, out)
    return (
        f"written {out}, {cfg} and {names}; OpenCV 4: cv2.dnn.readNetFromDarknet('{cfg}', '{out}')"
    )


def _write_backbone(model: keras.Model, header: BackboneHeader, out: Path) -> str:
    out.parent.mkdir(parents=True, exist_ok=True)
    save_backbone(out, model, header)
    command = f"--backbone {header.backbone} --width {header.width:g} --weights {out}"
    return f"written {out}; train with it: python train.py {command}"


def _write_run(found: ForeignDetector, classes: list[str], source: Path, out: Path) -> None:
    config = RunConfig(
        backbone=found.backbone,
        width=found.width,
        convention=found.convention,
        yolo=found.yolo,
        input_size=found.input_size,
        recipe=Recipe(),
        data="",
        weights=str(source),
        resize=found.resize,
    )
    detector = build_detector(config, len(classes))
    load_exactly(detector, found.tensors, source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as (part,):
        directory = RunDirectory(part)
        directory.describe(config, classes)
        header = dataclasses.replace(
            header_of(detector, classes), anchors_assumed=found.anchors_assumed
        )
        save_detector(directory.best_weights, detector, header)
