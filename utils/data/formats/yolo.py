"""Reads YOLO datasets, https://docs.ultralytics.com/datasets/detect.

A label file has a line `class x y width height` per object, the centre and size of its box as
fractions of the image as decoded, after its EXIF orientation was applied. A line of an outline,
`class x1 y1 x2 y2 ...`, becomes the box around it. An image without a label file is background.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from utils.data.faults import (
    BOX_FROM_OUTLINE,
    LONE_ANNOTATION,
    UNKNOWN_CLASS,
    UNREADABLE_ANNOTATION,
    UNREADABLE_OBJECT,
    Fault,
)
from utils.data.file_contents import try_layout
from utils.data.formats.names import unique_names
from utils.data.formats.records import (
    NO_LISTS,
    Box,
    BoxDataset,
    ImageEntry,
    LabelledBox,
    fit_box,
)
from utils.data.formats.rle import polygon_box
from utils.data.formats.yolo_layout import YoloLayout, find_layout
from utils.data.images import IMAGE_SUFFIXES
from utils.data.imagesets import find_files, read_text
from utils.data.orientation import ImageLayout
from utils.data.parallel import read_all
from utils.errors import UserError
from utils.text import counted, printable

IMAGE_FOLDERS = ("images", "JPEGImages")  # beside `labels/`; the second is that of Darknet's VOC
BOX_COLUMNS = 5  # class, centre and size
LONGEST_SHOWN = 60  # characters of a line that cannot be read


def read_yolo(source: Path) -> BoxDataset:
    """Reads a YOLO dataset.

    Args:
        source: See `find_layout`.

    Raises:
        UserError: It is not a YOLO dataset, has no label file, or no image can be used.
        JobError: The disk or network folder does not respond.
    """
    layout = find_layout(source)
    paths = list(dict.fromkeys(path for images in layout.sets.values() for path in images))
    labels = [_label_file(path) for path in paths]
    missing = sum(label is None for label in labels)
    if missing == len(labels):
        raise UserError(
            f"no label file for the images of {source}: they are expected in labels/ beside "
            "images/, or beside the images"
        )
    notes = layout.notes
    if missing:
        notes.append(f"{counted(missing, 'image')} without label file kept as background")
    names, renamed = unique_names(paths, layout.root)
    classes = list(dict.fromkeys(layout.classes.values()))
    if len(classes) < len(layout.classes):
        notes.append("classes of the same name become one")
    label_of = {number: classes.index(name) for number, name in layout.classes.items()}
    read = partial(_read_image, label_of=label_of, layout=layout, classes=classes)
    results = read_all(read, list(zip(names, paths, labels, strict=True)), "reading labels", _path)
    images = [image for image, _ in results if image]
    faults = [*layout.faults, *(fault for _, found in results for fault in found), *renamed]
    faults += _lone_labels(paths, labels)
    if not images:
        raise UserError(f"no image of {source} can be used, for example {faults[0]}")
    name_of = dict(zip(paths, names, strict=True))
    usable = {image.name for image in images}
    sets = {
        set_name: [name_of[path] for path in members if name_of[path] in usable]
        for set_name, members in layout.sets.items()
        if set_name not in NO_LISTS
    }
    sets = {set_name: members for set_name, members in sets.items() if members}
    return BoxDataset(classes, images, sets, faults, notes)


def _path(item: tuple[str, Path, Path | None]) -> Path:
    return item[1]


def _label_file(image: Path) -> Path | None:
    """Returns the label file of an image: in `labels/` instead of `images/`, or beside it."""
    beside = image.with_suffix(".txt")
    places = [beside, image.parent / "labels" / beside.name]
    parts = beside.parts
    if folders := [index for index, name in enumerate(parts[:-1]) if name in IMAGE_FOLDERS]:
        last = folders[-1]
        places.insert(0, Path(*parts[:last], "labels", *parts[last + 1 :]))
    return next((place for place in places if place.is_file()), None)


def _lone_labels(images: Sequence[Path], labels: Sequence[Path | None]) -> list[Fault]:
    """Returns a fault for each label file whose image does not exist."""
    folders = {
        (label.parent, image.parent) for image, label in zip(images, labels, strict=True) if label
    }
    used = {label for label in labels if label}
    lone = set()
    for label_folder, image_folder in sorted(folders):
        known = find_files(image_folder, IMAGE_SUFFIXES)
        lone |= {
            path
            for name, path in find_files(label_folder, (".txt",)).items()
            if name not in known and path not in used and path.name != "classes.txt"
        }
    return [Fault(LONE_ANNOTATION, path) for path in sorted(lone)]


def _read_image(
    item: tuple[str, Path, Path | None],
    label_of: dict[int, int],
    layout: YoloLayout,
    classes: Sequence[str],
) -> tuple[ImageEntry | None, list[Fault]]:
    name, path, label_file = item
    image = try_layout(path)
    if isinstance(image, Fault):
        return None, [image]
    try:
        lines = read_text(label_file).splitlines() if label_file else []
    except (UserError, OSError) as error:
        return None, [Fault(UNREADABLE_ANNOTATION, label_file, str(error))]
    objects, faults = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            class_number, box = _parse_line(line, layout.has_keypoints)
        except ValueError as error:
            shown = printable(line.strip()[:LONGEST_SHOWN])
            faults.append(Fault(UNREADABLE_OBJECT, label_file, f"{where}: {error}: {shown}"))
            continue
        label = label_of.get(class_number)
        if label is None:
            detail = f"{where}: class {class_number}, there are {len(label_of)}"
            faults.append(Fault(UNKNOWN_CLASS, label_file, detail))
            continue
        what = f"{where}: {classes[label]}"
        if len(line.split()) > BOX_COLUMNS and not layout.has_keypoints:
            faults.append(Fault(BOX_FROM_OUTLINE, label_file, what))
        fitted, fault = fit_box(_in_pixels(box, image), image, label_file, what)
        if fault:
            faults.append(fault)
        if fitted:
            objects.append(LabelledBox(fitted, label))
    return ImageEntry(name, path, image.width, image.height, tuple(objects)), faults


def _parse_line(line: str, has_keypoints: bool) -> tuple[int, Box]:
    """Parses a line into the number of the class and a box xyxy in fractions.

    Raises:
        ValueError: The line is neither a box nor an outline.
    """
    try:
        number, *values = map(float, line.split())
    except ValueError as error:
        raise ValueError("not a row of numbers") from error
    if not all(map(math.isfinite, (number, *values))):
        raise ValueError("a number is not finite")
    if number < 0 or number != int(number):
        raise ValueError("the class is not a number from 0")
    if len(values) == BOX_COLUMNS - 1 or (has_keypoints and len(values) >= BOX_COLUMNS):
        x, y, width, height = values[:4]
        return int(number), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    box = polygon_box(values) if len(values) >= 6 else None
    if box is None:
        raise ValueError(f"{len(values) + 1} columns are neither a box nor an outline")
    return int(number), box


def _in_pixels(box: Box, image: ImageLayout) -> Box:
    xmin, ymin, xmax, ymax = box
    width, height = image.width, image.height
    return xmin * width, ymin * height, xmax * width, ymax * height
