"""Reads the objects of a VOC annotation file, and finds its faults."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException

from utils.data.faults import Fault
from utils.data.images import SWAPS_SIDES
from utils.errors import UserError

OUTSIDE, CROSSES_BORDER = "box outside", "box crosses border"  # kinds of faults
BORDER_SLACK = 1.0  # pixels; VOC counts from 1, so that boxes may end 1 beyond the border
DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)["']""")


class AnnotatedObject(NamedTuple):
    """An object of an annotation.

    Attributes:
        box: xmin, ymin, xmax, ymax in pixels of the image as decoded.
        label: Index into the list of classes.
        difficult: Whether the annotation marks it as difficult.
    """

    box: list[float]
    label: int
    difficult: bool


@dataclass(frozen=True)
class ImageLayout:
    """Size and orientation of an annotated image.

    Attributes:
        height: Height as decoded, after its EXIF orientation was applied.
        width: Width as decoded.
        orientation: The EXIF orientation, 1 to 8.
    """

    height: int
    width: int
    orientation: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def parse_xml(path: Path) -> Element:
    """Parses an annotation in the encoding that it declares.

    Raises:
        UserError: The file is damaged, truncated or not XML.
    """
    data = Path(path).read_bytes()
    declared = DECLARED_ENCODING.match(data)
    try:
        if declared and not declared[1].lower().startswith(b"utf"):
            # Of the encodings for Chinese, Japanese and Korean, the parser supports only Unicode.
            data = data.decode(declared[1].decode())
        return defusedxml.ElementTree.fromstring(data)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise UserError(f"cannot read annotation {path}: {error}; repair or remove it") from error


def class_name(node: Element) -> str:
    """Returns the class name of an `object` element; empty if it has none."""
    return (node.findtext("name") or "").strip()


def read_objects(
    path: Path, label_of: Mapping[str, int], image: ImageLayout
) -> tuple[list[AnnotatedObject], list[Fault]]:
    """Reads the objects of an annotation file.

    Boxes that were drawn on the image as stored are rotated like the image, by its EXIF
    orientation.

    Args:
        path: The annotation.
        label_of: Label by class name.
        image: Size and orientation of the annotated image.

    Returns:
        The usable objects and the faults: objects that are left out, boxes that extend beyond the
        image by more than a pixel, and an image size that differs from the annotation.

    Raises:
        UserError: The file is damaged, truncated or not XML.
    """
    root = parse_xml(path)
    objects, faults = [], []
    height, width = (_number(root, f"size/{side}") for side in ("height", "width"))
    # Tools that ignore EXIF show the image as stored, so boxes are drawn on that.
    is_swapped = (height, width) == (image.width, image.height) != (image.height, image.width)
    rotates = image.orientation in SWAPS_SIDES and is_swapped
    if rotates:
        detail = f"drawn on {width:g}x{height:g}, rotated with the image to {image}"
        faults.append(Fault("boxes rotated by EXIF", path, detail))
    elif min(height, width) > 0 and (height, width) != (image.height, image.width):
        detail = f"states {width:g}x{height:g}, the image is {image}"
        faults.append(Fault("size differs", path, detail))
    for node in root.iterfind("object"):
        name = class_name(node)
        if name not in label_of:
            faults.append(Fault("unknown class", path, name or "an object without a name"))
            continue
        box = [_number(node, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        if rotates:
            box = _rotate(box, image)
        kind = _box_fault(box, image)
        if kind:
            detail = f"{name} {' '.join(f'{side:g}' for side in box)}"
            if kind in (OUTSIDE, CROSSES_BORDER):
                detail += f" in an image of {image}"
            faults.append(Fault(kind, path, detail))
        if kind in (None, CROSSES_BORDER):
            is_difficult = _number(node, "difficult") == 1
            objects.append(AnnotatedObject(box, label_of[name], is_difficult))
    return objects, faults


def _box_fault(box: list[float], image: ImageLayout) -> str | None:
    inside = np.clip(box, 0, (image.width, image.height) * 2)
    if not np.isfinite(box).all():
        return "no box"
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        return "empty box"
    if inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
        return OUTSIDE
    return CROSSES_BORDER if np.abs(inside - box).max() > BORDER_SLACK else None


def _rotate(box: list[float], image: ImageLayout) -> list[float]:
    """Converts a box of the stored image to the decoded one, for EXIF orientations 5 to 8."""
    top, left, bottom, right = box  # x and y change places
    if image.orientation in (6, 7):
        left, right = image.width - right, image.width - left
    if image.orientation in (7, 8):
        top, bottom = image.height - bottom, image.height - top
    return [left, top, right, bottom]


def _number(node: Element, tag: str) -> float:
    """Returns the number in a tag; NaN if there is none."""
    try:
        return float(node.findtext(tag, "nan"))
    except ValueError:
        return float("nan")
