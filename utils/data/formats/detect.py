"""Recognizes datasets in the formats of COCO and YOLO, to say how to convert them."""

import shlex
from pathlib import Path
from typing import Literal

Format = Literal["coco", "yolo"]

YAML_SUFFIXES = (".yaml", ".yml")
CLASS_LISTS = ("classes.txt", "labels/classes.txt")  # of labelImg and Label Studio
ROBOFLOW_JSON = "_annotations.coco.json"
HEAD = 1 << 20  # bytes of a JSON or YAML file that are searched for its keys


def detect_format(path: Path) -> Format | None:
    """Recognizes the format of a dataset by its files; None if it is neither COCO's nor YOLO's.

    Args:
        path: A folder, or the JSON or YAML file of a dataset.
    """
    if path.is_file():
        return _format_of(path)
    if not path.is_dir():
        return None
    for pattern in ("*.yaml", "*.yml", "annotations/*.json", f"*/{ROBOFLOW_JSON}", "*.json"):
        for file in sorted(path.glob(pattern)):
            if found := _format_of(file):
                return found
    return "yolo" if any((path / name).is_file() for name in CLASS_LISTS) else None


def conversion_hint(path: Path) -> str | None:
    """Returns the command that converts a dataset to VOC's format, None if it is not known.

    Args:
        path: A folder, or the JSON or YAML file of a dataset.
    """
    found = detect_format(path)
    if found is None:
        return None
    path = path.absolute() if path.name in ("", "..") else path
    name = path.stem if path.is_file() else path.name
    source, target = shlex.quote(str(path)), shlex.quote(f"{name}-voc")
    return (
        f"it has the format of {found.upper()}, convert it with "
        f"`python convert_dataset.py {source} --from {found} --out {target}`"
    )


def _format_of(file: Path) -> Format | None:
    """Recognizes a file by its keys, without parsing it: COCO's can have half a gigabyte."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return None  # the caller reports that there is no dataset
    if file.suffix.lower() in YAML_SUFFIXES:
        return "yolo" if b"names" in head and (b"train" in head or b"val" in head) else None
    keys = (b'"images"', b'"annotations"', b'"categories"')
    is_coco = file.suffix.lower() == ".json" and any(key in head for key in keys)
    return "coco" if is_coco else None
