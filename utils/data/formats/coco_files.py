"""Finds and parses the JSON files of a COCO dataset, and finds the images that they name."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from utils.data.formats.detect import ROBOFLOW_JSON
from utils.data.formats.names import as_set_name, set_in, set_of
from utils.data.formats.paths import ImageFinder
from utils.data.formats.records import NO_LISTS
from utils.errors import UserError
from utils.regular_files import check_regular
from utils.text import first_few

PREFIX = "instances_"  # of the files that have boxes, see https://cocodataset.org/#download


@dataclass(frozen=True)
class CocoFile:
    """A COCO JSON file.

    Attributes:
        path: The file.
        set_name: The image set that it describes; None if its name does not say.
        root: The folder of the dataset.
    """

    path: Path
    set_name: str | None
    root: Path

    @cached_property
    def finder(self) -> ImageFinder:
        """Finds the images of this file."""
        stem = self.path.stem.removeprefix(PREFIX)
        folders = (stem, self.set_name or stem)
        inside = [base / name for base in (self.root / "images", self.root) for name in folders]
        bases = [self.path.parent, *inside, self.root / "images", self.root, self.root / "data"]
        return ImageFinder(bases, self.set_name)


def find_coco_files(source: Path) -> tuple[list[CocoFile], list[str]]:
    """Finds the JSON files of a dataset.

    Args:
        source: A folder with `annotations/*.json`, with Roboflow's `train/_annotations.coco.json`
            or with JSON files, or one JSON file.

    Returns:
        The files, and notes about those that are not used.

    Raises:
        UserError: There is none.
    """
    if source.is_file():
        folder = source.parent
        root = folder.parent if folder.name == "annotations" else folder
        return [CocoFile(source, _set_name(source), root)], []
    if not source.is_dir():
        raise UserError(f"no file or folder {source}: specify a folder or a COCO JSON file")
    roboflow = sorted(source.glob(f"*/{ROBOFLOW_JSON}"))
    roboflow += [each for each in [source / ROBOFLOW_JSON] if each.is_file()]
    if roboflow:
        return [CocoFile(path, _set_name(path), source) for path in roboflow], []
    paths = sorted((source / "annotations").glob("*.json")) or sorted(source.glob("*.json"))
    if not paths:
        raise UserError(
            f"no COCO JSON file in {source}: expected annotations/*.json, "
            f"train/{ROBOFLOW_JSON} or *.json"
        )
    used = [path for path in paths if path.name.startswith(PREFIX)] or paths
    others = [path.name for path in paths if path not in used]
    notes = [f"not used: {first_few(others)}, only files {PREFIX}*.json"] if others else []
    files = []
    for path in used:
        name = _set_name(path)
        if name is None and len(used) > 1:
            name = as_set_name(path.stem.removeprefix(PREFIX))
        files.append(CocoFile(path, name, source))
    return files, notes


def _set_name(path: Path) -> str | None:
    """Returns the image set in the name of a file or of its folder; None if there is none."""
    if not path.stem.startswith(PREFIX):
        return set_in(path.stem) or set_of(path.parent.name)
    name = path.stem.removeprefix(PREFIX)
    if set_of(name) or name in NO_LISTS:
        return set_of(name) or name
    return None if name == "default" else as_set_name(name)  # CVAT's


def parse_coco(path: Path) -> dict:
    """Parses a COCO JSON file.

    Outlines are dropped where there is a box, as they take most of the memory; `outlines` of the
    result counts them.

    Raises:
        UserError: The file is damaged, not UTF-8, not JSON or not COCO's.
        OSError: The file cannot be read.
    """
    check_regular(path)
    outlines = 0

    def drop_outline(record: dict) -> dict:
        nonlocal outlines
        box = record.get("bbox")
        if box and record.get("segmentation"):
            outlines += 1
            if isinstance(box, list) and len(box) == 4 and _is_area(box[2:]):
                del record["segmentation"]
        return record

    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.load(file, object_hook=drop_outline)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"cannot read {path}: damaged or not JSON ({reason}); replace it"
        ) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise UserError(
                f"{path} is not a COCO file with boxes: it has no list {key!r}; "
                "specify another file"
            )
        if not all(isinstance(record, dict) for record in content[key]):
            raise UserError(f"{path}: an entry of {key!r} is not a JSON object; correct the file")
    content["outlines"] = outlines
    return content


def _is_area(sides: Sequence[object]) -> bool:
    return all(isinstance(side, int | float) and side > 0 for side in sides)
