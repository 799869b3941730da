"""Reads COCO datasets, https://cocodataset.org/#format-data.

Boxes are `[x, y, width, height]` in pixels, with the numbers of VOC's files, see
`utils.data.formats.records`.
"""

import reprlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.data.borders import MAX_CORNER
from utils.data.faults import (
    BOX_FROM_OUTLINE,
    LISTED_TWICE,
    LONE_ANNOTATION,
    MISPLACED,
    NO_BOX,
    ROTATED,
    SIZE_DIFFERS,
    UNKNOWN_CLASS,
    UNREADABLE_ANNOTATION,
    Fault,
)
from utils.data.file_contents import try_layout
from utils.data.formats.coco_files import CocoFile, find_coco_files, parse_coco
from utils.data.formats.names import unique_names
from utils.data.formats.paths import find_named
from utils.data.formats.records import (
    NO_LISTS,
    Box,
    BoxDataset,
    ImageEntry,
    LabelledBox,
    clean_class_names,
    fit_box,
)
from utils.data.formats.rle import outline_box
from utils.data.orientation import ImageLayout, find_frame, rotate_box
from utils.data.parallel import read_all
from utils.errors import UserError
from utils.text import counted


@dataclass
class _Entry:
    """An image in one JSON file.

    Attributes:
        file: The JSON file.
        file_name: The image in that file.
        stated_size: Height and width in that file, None if it does not state them.
        annotations: The annotations, with the name of their class; None if it is unknown.
    """

    file: CocoFile
    file_name: str
    stated_size: tuple[float, float] | None
    annotations: list[tuple[dict, str | None]] = field(default_factory=list)


class _Reader:
    """Collects the images of all JSON files of a dataset."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.files, self.notes = find_coco_files(source)
        self.faults: list[Fault] = []
        self.classes: list[str] = []
        self.entries: dict[Path, list[_Entry]] = defaultdict(list)
        outlines, entries = 0, []
        for file in self.files:
            content = parse_coco(file.path)
            outlines += content["outlines"]
            entries += self._collect(file, content)
        self._find_images(entries)
        if outlines:
            self.notes.append(f"only boxes are kept: {counted(outlines, 'outline')} left out")

    def _collect(self, file: CocoFile, content: dict) -> Collection[_Entry]:
        class_of = self._read_classes(file.path, content)
        entries: dict[str, _Entry] = {}
        for record in content["images"]:
            name, key = record.get("file_name"), _text(record.get("id"))
            if not isinstance(name, str) or not name.strip() or key is None:
                detail = f"an image without file_name or id: {reprlib.repr(record)}"
                self.faults.append(Fault(UNREADABLE_ANNOTATION, file.path, detail))
            elif key in entries:
                detail = f"image id {key} of {name} is also that of {entries[key].file_name}"
                self.faults.append(Fault(UNREADABLE_ANNOTATION, file.path, detail))
            else:
                entries[key] = _Entry(file, name.strip(), _stated_size(record))
        for record in content["annotations"]:
            entry = entries.get(_text(record.get("image_id")))
            if entry is None:
                detail = f"{_shown(record)}: no image has the id {_id(record, 'image_id')}"
                self.faults.append(Fault(LONE_ANNOTATION, file.path, detail))
            else:
                name = class_of.get(_text(record.get("category_id")))
                entry.annotations.append((record, name))
        return entries.values()

    def _find_images(self, entries: Sequence[_Entry]) -> None:
        paths = find_named((entry.file.finder, entry.file_name) for entry in entries)
        for entry, path in zip(entries, paths, strict=True):
            if path is None:
                count = counted(len(entry.annotations), "annotation")
                detail = f"no image {entry.file_name} for {count}"
                self.faults.append(Fault(LONE_ANNOTATION, entry.file.path, detail))
            else:
                self.entries[path].append(entry)

    def _read_classes(self, path: Path, content: dict) -> dict[str, str]:
        """Adds the classes of a file; returns their names by category id."""
        found = [
            (record["id"], _text(record.get("name")) or "")
            for record in content["categories"]
            if _text(record.get("id")) is not None
        ]
        if all(isinstance(key, int) for key, _ in found):
            found.sort()
        names = clean_class_names([name for _, name in found], path)
        twice = sorted({name for name in names if names.count(name) > 1})
        self.notes += [f"{path} has several categories {name}, they become one" for name in twice]
        known = set(self.classes)
        self.classes += [name for name in dict.fromkeys(names) if name not in known]
        return {str(key): name for (key, _), name in zip(found, names, strict=True)}

    def read(self) -> BoxDataset:
        """Reads the headers of the images and checks the boxes."""
        paths = list(self.entries)
        layouts = read_all(try_layout, paths, "reading image headers")
        names, renamed = unique_names(paths, self.files[0].root)
        label_of = {name: label for label, name in enumerate(self.classes)}
        images, sets = [], defaultdict[str, list[str]](list)
        for path, layout, name in zip(paths, layouts, names, strict=True):
            if isinstance(layout, Fault):
                self.faults.append(layout)
                continue
            objects = self._merge(path, layout, label_of)
            images.append(ImageEntry(name, path, layout.width, layout.height, objects))
            for set_name in dict.fromkeys(entry.file.set_name for entry in self.entries[path]):
                if set_name and set_name not in NO_LISTS:
                    sets[set_name].append(name)
        if not images:
            reason = f", for example {self.faults[0]}" if self.faults else ""
            raise UserError(f"no image of {self.source} can be used{reason}")
        self.faults += renamed
        return BoxDataset(self.classes, images, dict(sets), self.faults, self.notes)

    def _merge(
        self, path: Path, layout: ImageLayout, label_of: dict[str, int]
    ) -> tuple[LabelledBox, ...]:
        """Returns the objects of all entries of an image."""
        entries = self.entries[path]
        objects = self._objects(entries[0], layout, label_of)
        for entry in entries[1:]:
            found = self._objects(entry, layout, label_of)
            if sorted(found) != sorted(objects):  # otherwise it is an image of two sets
                detail = (
                    f"{path}: has other objects in {entry.file.path.name} than in another entry"
                )
                self.faults.append(Fault(LISTED_TWICE, path, detail))
            objects += [each for each in found if each not in objects]
        return tuple(objects)

    def _objects(
        self, entry: _Entry, layout: ImageLayout, label_of: dict[str, int]
    ) -> list[LabelledBox]:
        where = entry.file.path
        boxes = [self._box(record, entry) for record, _ in entry.annotations]
        is_stored = bool(boxes) and self._is_stored(entry, layout, [box for box in boxes if box])
        objects = []
        for (record, name), box in zip(entry.annotations, boxes, strict=True):
            what = f"{_shown(record)} of {entry.file_name}"
            if name is None:
                detail = f"{what}: no category has the id {_id(record, 'category_id')}"
                self.faults.append(Fault(UNKNOWN_CLASS, where, detail))
                continue
            if box is None:
                self.faults.append(Fault(NO_BOX, where, f"{what}: {name} has no usable box"))
                continue
            box = rotate_box(box, layout) if is_stored else box
            fitted, fault = fit_box(box, layout, where, f"{what}: {name}")
            if fault:
                self.faults.append(fault)
            if fitted:
                is_crowd = _is_set(record.get("iscrowd"))
                is_difficult = _is_set(record.get("ignore")) or _is_set(record.get("difficult"))
                label = label_of[name]
                objects.append(LabelledBox(fitted, label, is_difficult or is_crowd, is_crowd))
        return objects

    def _box(self, record: dict, entry: _Entry) -> Box | None:
        """Returns the box xyxy of an annotation, that of its outline if it has none."""
        try:
            x, y, width, height = map(float, record.get("bbox") or ())
            box = x, y, x + width, y + height
        except (TypeError, ValueError, OverflowError):
            box = None
        if box and box[2] > box[0] and box[3] > box[1]:
            return box
        outline = outline_box(record.get("segmentation") or ())
        if outline:
            what = f"{_shown(record)} of {entry.file_name}"
            self.faults.append(Fault(BOX_FROM_OUTLINE, entry.file.path, what))
        return outline or box  # a box without area is reported

    def _is_stored(
        self, entry: _Entry, layout: ImageLayout, boxes: Sequence[Sequence[float]]
    ) -> bool:
        """Whether boxes were drawn on an image as stored, before its EXIF orientation."""
        frame = find_frame(layout, entry.stated_size, boxes)
        stated = entry.stated_size
        where, name = entry.file.path, entry.file_name
        if frame == "stored":
            self.faults.append(Fault(ROTATED, where, f"{name}: drawn before its EXIF orientation"))
        elif stated not in (None, layout.size):
            detail = f"{name}: states {stated[1]:g}x{stated[0]:g}, the image is {layout}"
            self.faults.append(Fault(SIZE_DIFFERS, where, detail))
        elif frame is None and layout.is_rotated:
            detail = f"{name}: EXIF orientation {layout.orientation}, check its boxes"
            self.faults.append(Fault(MISPLACED, where, detail))
        return frame == "stored"


def read_coco(source: Path) -> BoxDataset:
    """Reads a COCO dataset: boxes, crowds, and the mark `ignore` as difficult.

    Annotations without a box get that of their outline. Boxes that were drawn before a photo was
    rotated by its EXIF orientation are rotated with it.

    Args:
        source: See `find_coco_files`.

    Raises:
        UserError: There is no such file, a file is damaged or of another kind, or no image can be
            used.
        JobError: The disk or network folder does not respond.
    """
    return _Reader(source).read()


def _stated_size(record: dict) -> tuple[float, float] | None:
    size = record.get("height"), record.get("width")
    is_valid = all(isinstance(side, int | float) and 0 < side <= MAX_CORNER for side in size)
    return size if is_valid else None


def _shown(record: dict) -> str:
    return f"annotation {_id(record, 'id')}" if "id" in record else "annotation without id"


def _id(record: dict, key: str) -> str:
    """Returns an id for messages; values that are nested or long are shortened."""
    value = record.get(key)
    return _text(value) or reprlib.repr(value)


def _text(value: object) -> str | None:
    """Returns an id or a name as text; None for lists, objects and null."""
    return str(value) if isinstance(value, str | int | float) else None


def _is_set(mark: object) -> bool:
    return mark in (1, "1")
