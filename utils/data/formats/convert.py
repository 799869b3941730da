"""Converts datasets between VOC folders and the other formats."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from utils.data.faults import Fault
from utils.data.formats.coco import read_coco
from utils.data.formats.coco_writer import write_coco
from utils.data.formats.detect import Format, detect_format
from utils.data.formats.files import check_output
from utils.data.formats.records import BoxDataset
from utils.data.formats.voc import read_voc, write_voc
from utils.data.formats.yolo import read_yolo
from utils.data.formats.yolo_writer import write_yolo
from utils.errors import UserError
from utils.text import counted, first_few, one_line

FORMATS = get_args(Format)


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        summary: What was written, in one line.
        faults: What was left out or changed.
        notes: What else the user should know, one line each.
    """

    summary: str
    faults: Sequence[Fault]
    notes: Sequence[str]


READERS = {"coco": read_coco, "yolo": read_yolo}
WRITERS = {"coco": write_coco, "yolo": write_yolo}


def convert_to_voc(source: Path, origin: Format, out: Path, copy: bool) -> Conversion:
    """Converts a dataset of another format to a VOCdevkit.

    Args:
        source: The folder of the dataset, or its JSON or YAML file.
        origin: Its format.
        out: The VOCdevkit, which does not exist or is empty.
        copy: Whether to copy the images instead of linking them.

    Raises:
        UserError: The source is not of this format or has no usable image, or the output has files.
        JobError: The disk or network folder does not respond.
    """
    check_output(out)
    try:
        dataset = READERS[origin](source)
    except UserError as error:
        found = detect_format(source)
        if found in (None, origin):
            raise
        raise UserError(
            f"{error}; it looks like a {found.upper()} dataset: --from {found}?"
        ) from error
    return _conversion(dataset, out, *write_voc(dataset, out, copy))


def convert_from_voc(data: Path, target: Format, out: Path, copy: bool) -> Conversion:
    """Converts a VOCdevkit to another format; see `convert_to_voc`."""
    check_output(out)
    dataset = read_voc(data)
    return _conversion(dataset, out, *WRITERS[target](dataset, out, copy))


def _conversion(
    dataset: BoxDataset, out: Path, notes: Sequence[str], faults: Sequence[Fault]
) -> Conversion:
    images = dataset.images
    background = sum(not image.objects for image in images)
    parts = [
        counted(len(images), "image"),
        f"{background} without objects",
        counted(sum(len(image.objects) for image in images), "object"),
        f"classes: {len(dataset.classes)} ({first_few(dataset.classes)})",
    ]
    used = {each.label for image in images for each in image.objects}
    unused = [name for label, name in enumerate(dataset.classes) if label not in used]
    if unused:  # such as the category 0 that Roboflow adds to COCO
        notes = [*notes, f"classes without an object: {first_few(unused)}"]
    sets = ", ".join(f"{name} {len(members)}" for name, members in dataset.all_sets().items())
    return Conversion(
        f"{out}: {', '.join(parts)}; sets: {sets}",
        [*dataset.faults, *faults],
        [one_line(note) for note in (*dataset.notes, *notes)],
    )
