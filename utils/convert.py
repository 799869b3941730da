"""Weights of other projects -> our files."""

import shutil
from pathlib import Path

from nets.anchors import save_anchors
from nets.backbones import build_backbone, resolve
from nets.detector import DEFAULT_ANCHORS
from utils.annotation import read_classes
from utils.backbone_file import BackboneHeader, save_backbone
from utils.checkpoint import save_weights
from utils.config import Recipe, RunConfig
from utils.errors import UserError
from utils.predecessors import recognise
from utils.run import ANCHORS, BEST_WEIGHTS, CLASSES, CONFIG, build_detector
from utils.tensorfiles import read_h5
from utils.weights import convention_of, load_exactly, load_weights, origin_of

SMALLEST_INPUT = (64, 64, 3)  # the weights of a backbone do not depend on it
PREDECESSORS_INPUT = (416, 416)  # input_shape in their yolo.py


def convert_backbone(
    source: Path, origin: str, backbone: str, width: float | None, out: Path
) -> str:
    """Writes a backbone's weights as a file for `--weights`.

    Args:
        source: a `.safetensors`, `.pth` or `.pt`.
        origin: `torchvision` or `timm`.
        backbone: registered name.
        width: its width factor, the default one if None.
        out: the `.safetensors` to write.

    Returns:
        What was done, in words.

    Raises:
        UserError: the file cannot be read or does not fit; nothing is written then.
    """
    try:
        spec = resolve(backbone)
        width = spec.default_width if width is None else width
        if (found := origin_of(source)) != origin:
            raise UserError(f"tensors of {source} are named as {found}'s, use --from {found}")
        convention = convention_of(str(source), spec.name)
        model = build_backbone(spec.name, SMALLEST_INPUT, width, convention)
    except ValueError as error:
        raise UserError(str(error)) from error
    report = load_weights(model, str(source), spec.name, width)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_backbone(out, model, BackboneHeader(spec.name, width, convention, source.name))
    command = f"python train.py --backbone {spec.name} --width {width:g} --weights {out}"
    return f"{report.message}\nwritten {out}; train with it: {command}"


def convert_detector(source: Path, origin: str, classes_file: Path, out: Path) -> str:
    """Writes a detector of the predecessors as a run directory.

    Args:
        source: their `.h5`.
        origin: `yolo3-efficientnet` or `yolo4-mobilenet`.
        classes_file: names of the classes, one a line.
        out: the run directory to make.

    Returns:
        What was done, in words.

    Raises:
        UserError: the file cannot be read or does not fit; nothing is written then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty, name a new directory")
    classes = read_classes(classes_file)
    found = recognise(read_h5(source), origin)
    if found.num_classes != len(classes):
        raise UserError(
            f"{source} tells {found.num_classes} classes apart, {classes_file} names {len(classes)}"
        )
    config = RunConfig(
        backbone=found.backbone,
        width=found.width,
        convention=found.convention,
        yolo=found.yolo,
        input_size=PREDECESSORS_INPUT,
        recipe=Recipe(),
        data="",
        weights=str(source),
        resize="stretch",  # letterbox_image is off in their yolo.py
    )
    anchors = DEFAULT_ANCHORS[found.yolo.name]  # those of their model_data/yolo_anchors.txt
    detector = build_detector(config, len(classes), anchors)
    load_exactly(detector, found.tensors, source)

    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_weights(detector, part / BEST_WEIGHTS)
    config.save(part / CONFIG)
    (part / CLASSES).write_text("\n".join(classes) + "\n", encoding="utf-8")
    save_anchors(part / ANCHORS, anchors)
    if out.is_dir():
        out.rmdir()
    part.replace(out)
    return (
        f"{len(found.tensors)} tensors of {found.backbone} {found.yolo.name}, width "
        f"{found.width:g}, {len(classes)} classes\n"
        f"written {out}; use it: python predict.py SOURCE --run {out}"
    )
