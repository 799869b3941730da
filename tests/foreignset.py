"""Writes small COCO and YOLO datasets for tests, and reads VOC's XML."""

import json
from xml.etree import ElementTree

import cv2
import numpy as np

SIDES = ("xmin", "ymin", "xmax", "ymax")


def add_picture(path, size=(60, 80)):
    """Writes a grey image of (h, w)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix.lower(), np.full((*size, 3), 90, np.uint8))[1])
    return path


def add_labels(path, *lines):
    """Writes a YOLO label file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def add_coco(path, images, annotations, categories=("cat", "dog")):
    """Writes a COCO JSON file.

    Args:
        path: The file.
        images: File names, whose ids count from 1, or whole records.
        annotations: Records; `id` is added, and `category_id` and `image_id` are 1 by default.
        categories: Names, whose ids count from 1, or whole records.
    """
    content = {
        "images": [
            {"id": number, "file_name": each, "width": 80, "height": 60}
            if isinstance(each, str)
            else each
            for number, each in enumerate(images, 1)
        ],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1} | each
            for number, each in enumerate(annotations, 1)
        ],
        "categories": [
            {"id": number, "name": each} if isinstance(each, str) else each
            for number, each in enumerate(categories, 1)
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def objects_of(dataset):
    """Returns (class, box) of all objects by image."""
    return {
        image.name: [(dataset.classes[each.label], each.box) for each in image.objects]
        for image in dataset.images
    }


def kinds(faults):
    """Returns the kinds of faults, sorted."""
    return sorted(fault.kind for fault in faults)


def xml_objects(voc_dir):
    """Returns (class, difficult, box) of all objects by image, as another program reads them."""
    found = {}
    for path in sorted((voc_dir / "Annotations").glob("*.xml")):
        found[path.stem] = [
            (
                node.findtext("name").strip(),
                node.findtext("difficult") == "1",
                tuple(float(node.findtext(f"bndbox/{side}")) for side in SIDES),
            )
            for node in ElementTree.parse(path).iter("object")
        ]
    return found


def xml_sets(voc_dir):
    """Returns the names in all lists of ImageSets/Main."""
    lists = (voc_dir / "ImageSets" / "Main").glob("*.txt")
    return {path.stem: sorted(path.read_text(encoding="utf-8").split()) for path in lists}
