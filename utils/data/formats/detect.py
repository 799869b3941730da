"""Recognizes COCO and YOLO datasets, to say how to convert them."""

import shlex
from pathlib import Path
from typing import Literal

from utils.errors import UserError
from utils.regular_files import check_regular

Format = Literal["coco", "yolo"]

YOLO_SUFFIXES = (".yaml", ".yml", ".data")  # of ultralytics, and of Darknet
# Of labelImg and Label Studio, of Darknet, and of Roboflow's export for it.
CLASS_LISTS = ("classes.txt", "*.names", "_darknet.labels", "*/classes.txt", "*/_darknet.labels")
ROBOFLOW_JSON = "_annotations.coco.json"
HEAD = 1 << 20  # bytes of a JSON or YAML file that are searched for its keys


def detect_format(path: Path) -> Format | None:
    """Recognizes the format of a dataset by its files; None if it is neither COCO nor YOLO.

    Args:
        path: A folder, or a file that describes a dataset, such as `data.yaml`.
    """
    if path.is_file():
        return format_of(path)
    if not path.is_dir():
        return None
    patterns = [f"*{suffix}" for suffix in YOLO_SUFFIXES]
    for pattern in (*patterns, "annotations/*.json", f"*/{ROBOFLOW_JSON}", "*.json"):
        for file in sorted(path.glob(pattern)):
            if found := format_of(file):
                return found
    return "yolo" if class_lists(path) else None


def class_lists(folder: Path) -> list[Path]:
    """Returns the files with the class names of a YOLO dataset that has no `data.yaml`."""
    return [path for pattern in CLASS_LISTS for path in sorted(folder.glob(pattern))]


def conversion_hint(path: Path) -> str | None:
    """Returns the command that converts a dataset to VOC's format, None if it is not known.

    Args:
        path: See `detect_format`.
    """
    found = detect_format(path)
    if found is None:
        return None
    path = path.absolute() if path.name in ("", "..") else path
    name = path.stem if path.is_file() else path.name
    source, target = shlex.quote(str(path)), shlex.quote(f"{name}-voc")
    return (
        f"it is a {found.upper()} dataset, convert it with "
        f"`python convert_dataset.py {source} --from {found} --out {target}`"
    )


def format_of(file: Path) -> Format | None:
    """Recognizes a file by its keys, without parsing it: COCO's can have half a gigabyte."""
    try:
        check_regular(file)
        with file.open("rb") as stream:
            head = stream.read(HEAD)
    except (UserError, OSError):
        return None  # the caller reports that there is no dataset
    if file.suffix.lower() in YOLO_SUFFIXES:
        return "yolo" if b"names" in head and (b"train" in head or b"val" in head) else None
    keys = (b'"images"', b'"annotations"')  # the file `notes.json` of Label Studio has categories
    is_coco = file.suffix.lower() == ".json" and any(key in head for key in keys)
    return "coco" if is_coco else None
