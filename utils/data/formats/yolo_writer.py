"""Writes YOLO datasets, see `utils.data.formats.yolo`.

Sets are lists of images, as in the `coco.yaml` of ultralytics, so that an image can be in several.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from utils.data.borders import clip_box
from utils.data.faults import CLIPPED, MARK_LOST, Fault
from utils.data.formats.files import new_folder, place_images, with_progress
from utils.data.formats.records import (
    ALL,
    TRAIN,
    TRAINVAL,
    VAL,
    Box,
    BoxDataset,
    ImageEntry,
    LabelledBox,
    rounded,
)
from utils.data.formats.voc import number_text

# Of fractions: as most tools write them, and enough for a millionth of a pixel in any image.
FEWEST_DECIMALS, MOST_DECIMALS = 6, 13


def write_yolo(dataset: BoxDataset, out: Path, copy: bool) -> tuple[list[str], list[Fault]]:
    """Writes a YOLO dataset, completely or not at all.

    Boxes are clipped, since ultralytics does not use an image with coordinates above 1.

    Args:
        dataset: The dataset.
        out: The folder, which does not exist or is empty.
        copy: Whether to copy the images instead of linking them.

    Returns:
        What the user should know, one line each, and the faults: boxes that were clipped and marks
        that the format does not have.
    """
    sets = dataset.all_sets()
    notes, faults = [], []
    if TRAIN not in sets:
        whole = next((name for name in (TRAINVAL, ALL) if name in sets), None)
        if whole:
            sets = {TRAIN: sets[whole], **sets}
            notes.append(f"{whole} is also written as train, since YOLO needs that set")
    if VAL not in sets:
        notes.append(
            "there is no set val, which ultralytics needs to train: hold out images with "
            "`voc_annotation.py --write-splits` before you convert, or add val to data.yaml"
        )
    file_of = {image.name: image.file_name for image in dataset.images}
    with new_folder(out) as part:
        place_images(dataset.images, part / "images", copy)
        (part / "labels").mkdir()
        for image in with_progress(dataset.images, "writing labels"):
            lines, found = _label_lines(image, dataset.classes)
            (part / "labels" / f"{image.name}.txt").write_text("".join(lines), encoding="utf-8")
            faults += found
        content = {}
        for name, members in sets.items():
            lines = "".join(f"./images/{file_of[member]}\n" for member in members)
            (part / f"{name}.txt").write_text(lines, encoding="utf-8")
            content[name] = f"{name}.txt"
        content |= {"nc": len(dataset.classes), "names": dict(enumerate(dataset.classes))}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (part / "data.yaml").write_text(text, encoding="utf-8")
    return notes, faults


def _label_lines(image: ImageEntry, classes: Sequence[str]) -> tuple[list[str], list[Fault]]:
    lines, faults = [], []
    for each in image.objects:
        what = f"{classes[each.label]} {' '.join(map(number_text, each.box))}"
        box = clip_box(each.box, image.width, image.height)
        if box != each.box:
            detail = f"{what} in an image of {image.width}x{image.height}"
            faults.append(Fault(CLIPPED, image.path, detail))
        if mark := _mark(each):
            faults.append(Fault(MARK_LOST, image.path, f"{mark} {what}"))
        fractions = _fractions(box, image.width, image.height)
        lines.append(f"{each.label} {' '.join(fractions)}\n")
    return lines, faults


def _mark(each: LabelledBox) -> str:
    if each.crowd:
        return "crowd"
    return "difficult" if each.difficult else ""


def _fractions(box: Box, width: int, height: int) -> list[str]:
    """Returns centre and size with as few decimals as bring back the same box in pixels."""
    xmin, ymin, xmax, ymax = box
    values = (
        (xmin + xmax) / 2 / width,
        (ymin + ymax) / 2 / height,
        (xmax - xmin) / width,
        (ymax - ymin) / height,
    )
    for decimals in range(FEWEST_DECIMALS, MOST_DECIMALS):
        x, y, w, h = (round(value, decimals) for value in values)
        corners = (
            (x - w / 2) * width,
            (y - h / 2) * height,
            (x + w / 2) * width,
            (y + h / 2) * height,
        )
        if rounded(corners) == box:
            return [number_text(value, decimals) for value in (x, y, w, h)]
    return [number_text(value, MOST_DECIMALS) for value in values]
