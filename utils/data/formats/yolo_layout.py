"""Finds the classes and the images of a YOLO dataset."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from utils.data.faults import NO_SUCH_IMAGE, Fault
from utils.data.formats.detect import YOLO_SUFFIXES, class_lists, format_of
from utils.data.formats.names import SET_OF_WORD, as_set_name, set_of, sets_in
from utils.data.formats.paths import ImageFinder, exists, find_images, find_named, find_path
from utils.data.formats.records import ALL, TRAIN, TRAINVAL, clean_class_names
from utils.data.imagesets import read_text
from utils.errors import UserError

NOT_SETS = ("path", "names", "nc", "download")  # keys with other meanings
NOTHING = ("", "~", "null")
NUMBER = re.compile(r"[0-9]{1,4}")  # of a class; YOLO9000 has 9418


@dataclass
class YoloLayout:
    """Where a dataset has what.

    Attributes:
        root: The folder of the dataset.
        classes: Names of the classes by the number in label files.
        sets: The images by set; the key `all` if they are not split.
        has_keypoints: Whether the numbers after a box are keypoints.
        faults: Images that are listed, but do not exist.
        notes: What else the user should know, one line each.
    """

    root: Path
    classes: dict[int, str] = field(default_factory=dict)
    sets: dict[str, list[Path]] = field(default_factory=dict)
    has_keypoints: bool = False
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _ListedImage:
    """An image in the list of a set.

    Attributes:
        set_name: The set.
        file: The list.
        finder: Finds the images of the list.
        line: The image in the list.
    """

    set_name: str
    file: Path
    finder: ImageFinder
    line: str


def find_layout(source: Path) -> YoloLayout:
    """Finds the classes and the images of a dataset.

    Args:
        source: A `data.yaml` of ultralytics or Roboflow, an `obj.data` of Darknet or CVAT, its
            folder, or a folder with images, their `.txt` files and a list of the classes, such as
            the `classes.txt` of labelImg and Label Studio.

    Raises:
        UserError: It is none of these, or a file is damaged or names no existing images.
    """
    if source.is_file():
        if source.suffix.lower() not in YOLO_SUFFIXES:
            raise UserError(f"{source} is not a YAML file: specify data.yaml or its folder")
        return _read_description(source)
    if not source.is_dir():
        raise UserError(f"no file or folder {source}: specify data.yaml or its folder")
    files = [path for suffix in YOLO_SUFFIXES for path in sorted(source.glob(f"*{suffix}"))]
    chosen = [path for path in files if path.stem in ("data", "dataset")][:1]
    if not chosen:  # beside a list of classes, other tools may keep YAML files of their own
        is_listed = bool(class_lists(source))
        chosen = [path for path in files if not is_listed or format_of(path) == "yolo"]
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen)
        raise UserError(f"several files describe {source} ({names}): specify one of them as SRC")
    return _read_description(chosen[0]) if chosen else _read_class_list(source)


def _read_class_list(source: Path) -> YoloLayout:
    """Reads a dataset without a description; folders such as `train` or `valid` are its sets."""
    lists = class_lists(source)
    if not lists:
        raise UserError(
            f"no data.yaml and no classes.txt in {source}: write the class names into "
            f"{source / 'classes.txt'}, one per line, if it is a YOLO dataset"
        )
    names = _numbered_lines(lists[0])
    for other in lists[1:] if lists[0].parent != source else ():
        if _numbered_lines(other) != names:
            raise UserError(
                f"{lists[0]} and {other} have different classes: convert their folders one by one, "
                f"or write the classes of both into {source / 'classes.txt'}"
            )
    layout = YoloLayout(source, _class_names({"names": names}, lists[0]))
    for path in find_images(source):
        folders = path.relative_to(source).parts[:-1]
        name = next(filter(None, map(set_of, folders)), ALL)
        layout.sets.setdefault(name, []).append(path)
    if not layout.sets:
        raise UserError(f"no image in {source}: put the images beside classes.txt or in images/")
    return layout


def _numbered_lines(file: Path) -> dict[int, str]:
    lines = read_text(file).splitlines()
    return {number: line for number, line in enumerate(lines) if line.strip()}


def _parse_yaml(file: Path) -> dict:
    try:
        # Only text, lists and dicts: `safe_load` would turn the class `no` into False.
        content = yaml.load(read_text(file), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read {file}: not YAML ({reason}); correct it") from error
    return content if isinstance(content, dict) else {}


def _parse_darknet(file: Path) -> dict:
    """Parses lines such as `train = train.txt`, of which `names` is a file, as if from YAML."""
    pairs = [line.partition("=") for line in read_text(file).splitlines()]
    content = {key.strip(): value.strip() for key, _, value in pairs}
    if name := content.get("names"):
        names = find_path(name, [file.parent])
        if names is None:
            raise UserError(f"{file}: no file {name} with the class names; correct the path")
        content["names"] = _numbered_lines(names)
    return content


def _read_description(file: Path) -> YoloLayout:
    content = _parse_darknet(file) if file.suffix.lower() == ".data" else _parse_yaml(file)
    layout = YoloLayout(file.parent, _class_names(content, file))
    layout.has_keypoints = "kpt_shape" in content
    path = content.get("path")
    path = path if isinstance(path, str) else ""
    listed: list[_ListedImage] = []
    for key, value in content.items():
        name = SET_OF_WORD.get(key.lower())
        if key not in NOT_SETS and (name or _is_list_file(value)):
            listed += _add_set(layout, name or as_set_name(key), value, file, path)
    _add_listed(layout, listed)
    if not any(layout.sets.values()):
        reason = next(iter([*layout.notes, *layout.faults]), f"{file} has no key train")
        raise UserError(f"no image found: {reason}; put the file beside the folders or correct it")
    # Written for datasets without `train` by `utils.data.formats.yolo_writer`.
    for whole in (TRAINVAL, ALL):
        if whole in layout.sets and layout.sets.get(TRAIN) == layout.sets[whole]:
            del layout.sets[TRAIN]
    return layout


def _class_names(content: dict, file: Path) -> dict[int, str]:
    names, count = content.get("names"), content.get("nc")
    if not names or names in NOTHING:
        if not isinstance(count, str) or not NUMBER.fullmatch(count):
            raise UserError(f"{file} has no class names: add them, or specify another file")
        names = [f"class_{label}" for label in range(int(count))]  # as ultralytics calls them
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not all(isinstance(n, str) for n in numbered.values()):
        raise UserError(f"names in {file} are neither a list nor a dict of texts: correct them")
    if not all(NUMBER.fullmatch(str(key)) for key in numbered):
        raise UserError(f"names in {file} have keys that are not numbers from 0: correct them")
    labels = sorted((int(key), name) for key, name in numbered.items())
    cleaned = clean_class_names([name for _, name in labels], file)
    return {label: name for (label, _), name in zip(labels, cleaned, strict=True)}


def _is_list_file(value: object) -> bool:
    return isinstance(value, str) and value.endswith(".txt")


def _add_set(
    layout: YoloLayout, name: str, value: object, file: Path, path: str
) -> Iterator[_ListedImage]:
    """Adds a set: a folder, a `.txt` file or several of them. Yields the images of `.txt` files."""
    for text in value if isinstance(value, list) else [value]:
        if not isinstance(text, str) or text.strip() in NOTHING:
            continue
        place = _find_place(text, file, path)
        if place is None:
            layout.notes.append(f"{file}: {name} is {text}, which does not exist")
            continue
        images = layout.sets.setdefault(name, [])
        if place.is_dir():
            found = find_images(place)
            images += found
            if not found:
                layout.notes.append(f"{file}: {name} is {text}, in which there is no image")
        else:
            finder = ImageFinder([place.parent, layout.root], name)
            lines = filter(None, map(str.strip, read_text(place).splitlines()))
            yield from (_ListedImage(name, place, finder, line) for line in lines)


def _find_place(text: str, file: Path, path: str) -> Path | None:
    """Finds a folder or list. `path` of the YAML file is often a folder of another machine."""
    path = "" if path in NOTHING else path
    root = file.parent / path
    if exists(root / text):
        return root / text
    found = find_path(text, [root, file.parent]) or find_path(f"{path}/{text}", [file.parent])
    # `images` alone is not what `/data/images/train` means: it has all sets.
    lost = sets_in(text) and found and not sets_in(os.path.relpath(found, file.parent))
    return None if lost else found


def _add_listed(layout: YoloLayout, listed: Sequence[_ListedImage]) -> None:
    """Adds the images of all lists to their sets."""
    paths = find_named((image.finder, image.line) for image in listed)
    for image, path in zip(listed, paths, strict=True):
        if path is None:
            detail = f"{image.file}: no image {image.line}"
            layout.faults.append(Fault(NO_SUCH_IMAGE, image.file, detail))
        else:
            layout.sets[image.set_name].append(path)
    for name, images in layout.sets.items():
        layout.sets[name] = list(dict.fromkeys(images))
