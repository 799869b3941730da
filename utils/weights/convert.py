"""Weights of other projects -> our files, and runs -> Darknet's files."""

import shutil
from pathlib import Path

import keras

from nets.backbones import build_backbone, resolve, usable_width
from utils.config import Recipe, RunConfig
from utils.data.anchors import save_anchors
from utils.data.annotation import read_classes
from utils.errors import UserError
from utils.files import part_of, refuse_existing
from utils.run import ANCHORS, BEST_WEIGHTS, CLASSES, CONFIG, build_detector, load_run
from utils.training.checkpoint import save_weights
from utils.weights import legacy_keras
from utils.weights.backbone_file import BackboneHeader, save_backbone
from utils.weights.darknet import reader, writer
from utils.weights.foreign import ForeignDetector
from utils.weights.loading import convention_of, load_exactly, load_weights, origin_of

SMALLEST_INPUT = (64, 64, 3)  # the weights of a backbone do not depend on it


def convert_torch_backbone(
    source: Path, origin: str, backbone: str, width: float | None, out: Path
) -> str:
    """Writes a backbone of torch as a file for `--weights`.

    Args:
        source: a `.safetensors`, `.pth` or `.pt`.
        origin: `torchvision` or `timm`.
        backbone: registered name.
        width: its width factor, the default one if None.
        out: the `.safetensors` to write.

    Returns:
        What was done, in words.

    Raises:
        UserError: the file cannot be read or does not fit, or `out` is there already; nothing is
            written then.
    """
    refuse_existing(out)
    if (found := origin_of(source)) != origin:
        raise UserError(f"tensors of {source} are named as {found}'s, use --from {found}")
    model, header = _build(source, backbone, width)
    report = load_weights(model, str(source), header.backbone, header.width)
    return f"{report.message}\n{_write_backbone(model, header, out)}"


def convert_darknet_backbone(
    source: Path, cfg: Path, backbone: str, width: float | None, out: Path
) -> str:
    """Writes the backbone of a Darknet detector as a file for `--weights`.

    Args:
        source: its `.weights`, or the beginning of them such as darknet53.conv.74.
        cfg: its `.cfg`.
        backbone: registered name.
        width: its width factor, the default one if None.
        out: the `.safetensors` to write.

    Returns:
        What was done, in words.

    Raises:
        UserError: the files cannot be read or do not fit, or `out` is there already; nothing is
            written then.
    """
    refuse_existing(out)
    model, header = _build(source, backbone, width)
    tensors = reader.read_backbone(source, cfg, header.backbone)
    load_exactly(model, tensors, source)
    return f"{len(tensors)} tensors loaded from {source}\n{_write_backbone(model, header, out)}"


def convert_detector(
    source: Path, origin: str, classes_file: Path, out: Path, cfg: Path | None = None
) -> str:
    """Writes a detector of another project as a run directory.

    Args:
        source: their `.h5`, or Darknet's `.weights`.
        origin: `yolo3-efficientnet`, `yolo4-mobilenet` or `darknet`.
        classes_file: names of the classes, one a line.
        out: the run directory to make.
        cfg: the `.cfg` of Darknet's weights.

    Returns:
        What was done, in words.

    Raises:
        UserError: the file cannot be read or does not fit; nothing is written then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty, name a new directory")
    classes = read_classes(classes_file)
    found = (
        reader.read_detector(source, cfg)
        if origin == "darknet"
        else legacy_keras.read_detector(source, origin)
    )
    if found.num_classes != len(classes):
        raise UserError(
            f"{source} tells {found.num_classes} classes apart, {classes_file} names {len(classes)}"
        )
    _write_run(found, classes, source, out)
    return (
        f"{len(found.tensors)} tensors of {found.backbone} {found.yolo.name}, width "
        f"{found.width:g}, {len(classes)} classes\n"
        f"written {out}; use it: python predict.py SOURCE --run {out}"
    )


def write_darknet(run_directory: Path, out: Path) -> str:
    """Writes the detector of a run as `.weights`, `.cfg` and `.names`.

    Args:
        run_directory: of a detector with plain convolutions over a Darknet backbone.
        out: the `.weights`; the others get its name.

    Returns:
        What was done, in words.

    Raises:
        UserError: there is no such run, Darknet cannot compute what its detector does, or a file is
            there already; nothing is written then.
    """
    run = load_run(run_directory)
    cfg, names = writer.write_detector(run.detector, run.config.resize, run.classes, out)
    return (
        f"written {out}, {cfg} and {names}; OpenCV 4: cv2.dnn.readNetFromDarknet('{cfg}', '{out}')"
    )


def _build(source: Path, backbone: str, width: float | None) -> tuple[keras.Model, BackboneHeader]:
    """A backbone that the weights of `source` fit into, and what is to be said of them."""
    try:
        spec = resolve(backbone)
        width = usable_width(spec, width)
        convention = convention_of(str(source), spec.name)
        model = build_backbone(spec.name, SMALLEST_INPUT, width, convention)
    except ValueError as error:
        raise UserError(str(error)) from error
    return model, BackboneHeader(spec.name, width, convention, source.name)


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
    detector = build_detector(config, len(classes), found.anchors)
    load_exactly(detector, found.tensors, source)

    part = part_of(out)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_weights(detector, part / BEST_WEIGHTS)
    config.save(part / CONFIG)
    (part / CLASSES).write_text("\n".join(classes) + "\n", encoding="utf-8")
    save_anchors(part / ANCHORS, found.anchors)
    if out.is_dir():
        out.rmdir()
    part.replace(out)
