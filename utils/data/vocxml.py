"""Reads the objects of a VOC annotation file, and finds its faults."""

import codecs
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException

from utils.data.borders import MAX_CORNER, clip_box, reachable_iou
from utils.data.faults import (
    CROSSES_BORDER,
    EMPTY_BOX,
    HANDLING,
    MISPLACED,
    MOSTLY_OUTSIDE,
    NO_BOX,
    OBJECT_LEFT_OUT,
    OUTSIDE,
    ROTATED,
    SIZE_DIFFERS,
    UNKNOWN_CLASS,
    Fault,
)
from utils.data.orientation import (
    BORDER_SLACK,
    UNKNOWN_FRAME,
    Frame,
    FrameCounts,
    ImageLayout,
    find_frame,
    rotate_box,
)
from utils.errors import UserError
from utils.files import check_regular
from utils.text import counted

# Scores compare detections with boxes as annotated, like VOC's development kit and pycocotools, but
# no detection extends beyond the image.
FOUND_IOU = 0.5
MIN_SIDE = 1 - 1e-6  # pixels; 1.0248 - 0.0248 is less than 1 in floating point
ROOT = "annotation"  # the tag of the outermost element
CROWD = "iscrowd"  # a tag of objects that only `convert_dataset.py` writes
MAX_BYTES = 2**25  # of a file; the parser needs up to 25 times as much memory
# Of Python's encodings, those that take quadratic time. They are for names of hosts.
SLOW_ENCODINGS = ("idna", "punycode")
DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)["']""")


class AnnotatedObject(NamedTuple):
    """An object of an annotation.

    Attributes:
        box: xmin, ymin, xmax, ymax in pixels of the image as decoded.
        label: Index into the list of classes.
        difficult: Whether the annotation marks it as difficult.
        crowd: Whether it is a crowd of COCO. VOC has no such mark; `convert_dataset.py` writes it.
    """

    box: list[float]
    label: int
    difficult: bool
    crowd: bool = False


def parse_xml(path: Path) -> Element:
    """Parses an annotation in the encoding that it declares, and removes XML namespaces.

    Raises:
        UserError: The file is damaged, truncated, not XML, or not an annotation of VOC.
        OSError: The file cannot be read.
    """
    check_regular(path)
    if path.stat().st_size > MAX_BYTES:
        raise UserError(
            f"cannot read annotation {path}: it has more than {MAX_BYTES:,} bytes; remove it"
        )
    data = path.read_bytes()
    declared = DECLARED_ENCODING.match(data)
    try:
        if declared and not declared[1].lower().startswith(b"utf"):
            # Of the encodings for Chinese, Japanese and Korean, the parser supports only Unicode.
            encoding = codecs.lookup(declared[1].decode()).name
            if encoding in SLOW_ENCODINGS:
                raise LookupError(f"the encoding {encoding} is not supported")
            data = data.decode(encoding)
        root = defusedxml.ElementTree.fromstring(data)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise UserError(f"cannot read annotation {path}: {error}; repair or remove it") from error
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]  # {http://example.org/voc}object
    if root.tag != ROOT:
        raise UserError(
            f"cannot read annotation {path}: its root is <{root.tag}>, not <{ROOT}> as in VOC's "
            "format; convert or remove it"
        )
    return root


def class_name(node: Element) -> str:
    """Returns the class name of an `object` element; empty if it has none.

    Spaces are joined: class files have a name per line, so a name must not end one.
    """
    return " ".join((node.findtext("name") or "").split())


def read_frame(path: Path, image: ImageLayout) -> Frame | None:
    """Finds whether an annotation was drawn on an image as stored or as decoded.

    Returns:
        The frame; None if the annotation does not show it.

    Raises:
        UserError: The file is damaged, truncated, not XML, or not an annotation of VOC.
    """
    return _find_frame(parse_xml(path), image)


def read_objects(
    path: Path,
    label_of: Mapping[str, int],
    image: ImageLayout,
    folder: FrameCounts = UNKNOWN_FRAME,
) -> tuple[list[AnnotatedObject], list[Fault]]:
    """Reads the objects of an annotation file.

    Boxes that were drawn on the image as stored are rotated like the image, by its EXIF
    orientation.

    Args:
        path: The annotation.
        label_of: Label by class name.
        image: Size and orientation of the annotated image.
        folder: What other annotations of the folder show. It is used if the image is rotated and
            its own annotation does not show on which frame it was drawn.

    Returns:
        The usable objects and the faults: objects that are left out, boxes that extend beyond the
        image by more than a pixel, boxes that were rotated or should perhaps have been, and an
        image size that differs from the annotation.

    Raises:
        UserError: The file is damaged, truncated, not XML, or not an annotation of VOC.
    """
    root = parse_xml(path)
    nodes = root.findall("object")
    frame, faults = "decoded", []
    if image.is_rotated and nodes:
        frame, faults = _frame_of(root, path, image, folder)
    size = _stated_size(root)
    is_as_stored = size == image.stored_size and (frame == "stored" or not nodes)
    if size not in (None, image.size) and not is_as_stored:
        detail = f"states {size[1]:g}x{size[0]:g}, the image is {image}"
        faults.append(Fault(SIZE_DIFFERS, path, detail))
    objects = []
    for node in nodes:
        name = class_name(node)
        if name not in label_of:
            faults.append(Fault(UNKNOWN_CLASS, path, name or "an object without a name"))
            continue
        box = _read_box(node)
        if frame == "stored":
            box = rotate_box(box, image)
        is_difficult = _number(node, "difficult") == 1
        kind, reason = box_fault(box, image, is_difficult)
        if kind:
            detail = f"{name} {' '.join(f'{side:g}' for side in box)}{reason}"
            faults.append(Fault(kind, path, detail))
        if HANDLING.get(kind) != OBJECT_LEFT_OUT:
            is_crowd = _number(node, CROWD) == 1
            objects.append(AnnotatedObject(box, label_of[name], is_difficult, is_crowd))
    return objects, faults


def _frame_of(
    root: Element, path: Path, image: ImageLayout, folder: FrameCounts
) -> tuple[Frame, list[Fault]]:
    """Finds on which frame the boxes of a rotated image were drawn."""
    frame = _find_frame(root, image)
    if frame == "stored":
        height, width = image.stored_size
        detail = f"drawn on {width}x{height}, rotated with the image to {image}"
        return frame, [Fault(ROTATED, path, detail)]
    if frame or (_stated_size(root) and image.stored_size != image.size):
        return "decoded", []  # a size that is neither of the two is reported on its own
    orientation = f"EXIF orientation {image.orientation}"
    if folder.frame == "stored":
        detail = (
            f"{orientation} ignored, as in {counted(folder.stored, 'other image')} of the folder"
        )
        return "stored", [Fault(ROTATED, path, detail)]
    if folder.frame == "decoded":
        return "decoded", []
    evidence = "no other image of the folder shows whether its boxes ignore it"
    if folder.stored:
        evidence = (
            f"boxes of {counted(folder.stored, 'other image')} of the folder ignore theirs, those "
            f"of {folder.decoded} do not"
        )
    remedy = "save the image without EXIF orientation and check its boxes"
    return "decoded", [Fault(MISPLACED, path, f"{orientation}: {evidence}; {remedy}")]


def _find_frame(root: Element, image: ImageLayout) -> Frame | None:
    boxes = [_read_box(node) for node in root.iterfind("object")]
    return find_frame(image, _stated_size(root), boxes)


def box_fault(
    box: Sequence[float], image: ImageLayout, is_difficult: bool
) -> tuple[str | None, str]:
    """Returns the kind of fault of a box, None if it has none, and the reason."""
    reason = f" in an image of {image}"
    if not all(map(math.isfinite, box)):
        return NO_BOX, ""
    if max(map(abs, box)) > MAX_CORNER:
        return NO_BOX, f": more than {MAX_CORNER} pixels away"
    inside = clip_box(box, image.width, image.height)
    if box[2] - box[0] < MIN_SIDE or box[3] - box[1] < MIN_SIDE:
        return EMPTY_BOX, ""
    if inside[2] - inside[0] < MIN_SIDE or inside[3] - inside[1] < MIN_SIDE:
        return OUTSIDE, reason
    if max(abs(side - other) for side, other in zip(inside, box, strict=True)) <= BORDER_SLACK:
        return None, ""
    [visible] = reachable_iou(np.array([box]), image.size)
    if visible >= FOUND_IOU or is_difficult:  # VOC's scores ignore difficult objects
        return CROSSES_BORDER, reason
    reason += f": {visible:.1%} inside, so it cannot be found at an IoU of {FOUND_IOU}; correct it"
    return MOSTLY_OUTSIDE, reason


def _stated_size(root: Element) -> tuple[float, float] | None:
    """Returns height and width in the annotation; None if it does not state them."""
    height, width = _number(root, "size/height"), _number(root, "size/width")
    return (height, width) if height > 0 and width > 0 else None  # some tools write zeros


def _read_box(node: Element) -> list[float]:
    return [_number(node, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]


def _number(node: Element, tag: str) -> float:
    """Returns the number in a tag; NaN if there is none."""
    try:
        return float(node.findtext(tag, "nan"))
    except ValueError:
        return float("nan")
