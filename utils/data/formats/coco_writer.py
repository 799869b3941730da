"""Writes COCO datasets, see `utils.data.formats.coco`."""

import json
from pathlib import Path

from utils.data.faults import Fault
from utils.data.formats.files import new_folder, place_images
from utils.data.formats.records import DECIMALS, BoxDataset, ImageEntry
from utils.text import counted


def write_coco(dataset: BoxDataset, out: Path, copy: bool) -> tuple[list[str], list[Fault]]:
    """Writes a COCO dataset, completely or not at all.

    Images are in `images/`, and `annotations/instances_SET.json` describes those of a set. Ids are
    the same in all files; those of categories count from 1. Difficult objects have `"ignore": 1`.

    Args:
        dataset: The dataset.
        out: The folder, which does not exist or is empty.
        copy: Whether to copy the images instead of linking them.

    Returns:
        What the user should know, one line each, and the faults: none.
    """
    by_name = {image.name: (number, image) for number, image in enumerate(dataset.images, 1)}
    categories = [
        {"id": label, "name": name, "supercategory": ""}
        for label, name in enumerate(dataset.classes, 1)
    ]
    first_id, total = {}, 0
    for image in dataset.images:
        first_id[image.name] = total + 1
        total += len(image.objects)
    with new_folder(out) as part:
        place_images(dataset.images, part / "images", copy)
        (part / "annotations").mkdir()
        for name, members in dataset.all_sets().items():
            chosen = [by_name[member] for member in members]
            content = {
                "info": {"description": f"{name} set"},
                "licenses": [],
                "images": [_image_record(number, image) for number, image in chosen],
                "annotations": [
                    record
                    for number, image in chosen
                    for record in _annotation_records(number, image, first_id[image.name])
                ],
                "categories": categories,
            }
            with (part / "annotations" / f"instances_{name}.json").open(
                "w", encoding="utf-8"
            ) as file:
                json.dump(content, file, ensure_ascii=False, separators=(",", ":"))
    difficult = sum(
        each.difficult and not each.crowd for image in dataset.images for each in image.objects
    )
    if not difficult:
        return [], []
    note = (
        f"{counted(difficult, 'difficult object')} marked with `ignore`, which pycocotools does "
        "not use"
    )
    return [note], []


def _image_record(number: int, image: ImageEntry) -> dict:
    size = {"width": image.width, "height": image.height}
    return {"id": number, "file_name": image.file_name, **size}


def _annotation_records(number: int, image: ImageEntry, first_id: int) -> list[dict]:
    annotations = []
    for index, each in enumerate(image.objects):
        xmin, ymin, xmax, ymax = each.box
        width, height = round(xmax - xmin, DECIMALS), round(ymax - ymin, DECIMALS)
        annotations.append(
            {
                "id": first_id + index,
                "image_id": number,
                "category_id": each.label + 1,
                "bbox": [xmin, ymin, width, height],
                "area": round(width * height, DECIMALS),
                "segmentation": [],
                "iscrowd": int(each.crowd),
                "ignore": int(each.difficult),
            }
        )
    return annotations
