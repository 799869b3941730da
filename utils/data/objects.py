"""Finds the usable objects of an annotation, and its faults."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
from utils.data.images import MIRRORS_X, MIRRORS_Y, SWAPS_SIDES
from utils.data.orientation import (
    BORDER_SLACK,
    UNKNOWN_FRAME,
    Frame,
    FrameCounts,
    ImageLayout,
    find_frame,
    rotate_box,
)
from utils.data.tables import AnnotationTable
from utils.data.vocxml import Annotation
from utils.text import counted

# Scores compare detections with boxes as annotated, like VOC's development kit and pycocotools, but
# no detection extends beyond the image.
FOUND_IOU = 0.5
MAX_PLAIN_SIDE = 65_536  # pixels of an image; boxes in larger ones are checked one by one
MIN_SIDE = 1 - 1e-6  # pixels; 1.0248 - 0.0248 is less than 1 in floating point


class AnnotatedObject(NamedTuple):
    """An object of an annotation.

    Attributes:
        box: xmin, ymin, xmax, ymax in pixels of the image as decoded.
        label: Index into the list of classes.
        difficult: Whether the annotation marks it as difficult.
        crowd: Whether it is a crowd of COCO, see `StatedObject`.
    """

    box: list[float]
    label: int
    difficult: bool
    crowd: bool = False


def annotated_frame(annotation: Annotation, image: ImageLayout) -> Frame | None:
    """Finds whether an annotation was drawn on an image as stored or as decoded.

    Returns:
        The frame; None if the annotation does not show it.
    """
    return find_frame(image, annotation.size, [each.box for each in annotation.objects])


def usable_objects(
    annotation: Annotation,
    path: Path,
    label_of: Mapping[str, int],
    image: ImageLayout,
    folder: FrameCounts = UNKNOWN_FRAME,
) -> tuple[list[AnnotatedObject], list[Fault]]:
    """Finds the usable objects and the faults of an annotation.

    Boxes that were drawn on the image as stored are rotated like the image, by its EXIF
    orientation.

    Args:
        annotation: The content of the file.
        path: The file, for the faults.
        label_of: Label by class name.
        image: Size and orientation of the annotated image.
        folder: What other annotations of the folder show. It is used if the image is rotated and
            its own annotation does not show on which frame it was drawn.

    Returns:
        The usable objects and the faults: objects that are left out, boxes that extend beyond the
        image by more than a pixel, boxes that were rotated or should perhaps have been, and an
        image size that differs from the annotation.
    """
    size, stated = annotation
    frame, faults = "decoded", []
    if image.is_rotated and stated:
        frame, faults = _frame_of(annotation, path, image, folder)
    is_as_stored = size == image.stored_size and (frame == "stored" or not stated)
    if size not in (None, image.size) and not is_as_stored:
        detail = f"states {size[1]:g}x{size[0]:g}, the image is {image}"
        faults.append(Fault(SIZE_DIFFERS, path, detail))
    objects = []
    for name, corners, is_difficult, is_crowd in stated:
        if name not in label_of:
            faults.append(Fault(UNKNOWN_CLASS, path, name or "an object without a name"))
            continue
        box = rotate_box(corners, image) if frame == "stored" else list(corners)
        kind, reason = box_fault(box, image, is_difficult)
        if kind:
            detail = f"{name} {' '.join(f'{side:g}' for side in box)}{reason}"
            faults.append(Fault(kind, path, detail))
        if HANDLING.get(kind) != OBJECT_LEFT_OUT:
            objects.append(AnnotatedObject(box, label_of[name], is_difficult, is_crowd))
    return objects, faults


class PlainLabels(NamedTuple):
    """Which of N annotations with M objects have no fault.

    Attributes:
        is_plain: bool (N,), whether `usable_objects` certainly finds no fault.
        labels: int32 (M,), label of each object; -1 for those of an unknown class.
    """

    is_plain: np.ndarray
    labels: np.ndarray


def find_plain_labels(
    table: AnnotationTable, layouts: np.ndarray, classes: Sequence[str]
) -> PlainLabels:
    """Finds at once most of the annotations in which `usable_objects` finds no fault.

    Args:
        table: N annotations with M objects.
        layouts: int32 (N, 3), height, width and orientation of each image.
        classes: Names of the classes, by label.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of.get(name, -1) for name in table.classes], np.int32)[table.class_of]
    owner = np.repeat(np.arange(len(layouts)), np.diff(table.starts))
    inside = np.clip(table.boxes, 0, layouts[owner][:, [1, 0, 1, 0]])
    # NaN compares as False, and what is infinite or far away is not near its clipped box.
    is_near = (np.abs(inside - table.boxes) <= BORDER_SLACK).all(axis=1)
    is_large = np.ones(len(labels), bool)
    with np.errstate(invalid="ignore"):  # infinite minus infinite
        for boxes in (inside, table.boxes):
            is_large &= (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1)
    is_plain = np.isnan(table.sizes[:, 0]) | (table.sizes == layouts[:, :2]).all(axis=1)
    is_plain &= ~np.isin(layouts[:, 2], (*SWAPS_SIDES, *MIRRORS_X, *MIRRORS_Y))
    is_plain &= (layouts[:, :2] <= MAX_PLAIN_SIDE).all(axis=1)
    is_plain[owner[~(is_near & is_large & (labels >= 0))]] = False
    return PlainLabels(is_plain, labels)


def _frame_of(
    annotation: Annotation, path: Path, image: ImageLayout, folder: FrameCounts
) -> tuple[Frame, list[Fault]]:
    """Finds on which frame the boxes of a rotated image were drawn."""
    frame = annotated_frame(annotation, image)
    if frame == "stored":
        height, width = image.stored_size
        detail = f"drawn on {width}x{height}, rotated with the image to {image}"
        return frame, [Fault(ROTATED, path, detail)]
    if frame or (annotation.size and image.stored_size != image.size):
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
