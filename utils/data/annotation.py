"""Reads the annotations of a set of images into samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data.faults import (
    LONE_ANNOTATION,
    LONE_IMAGE,
    MISPLACED,
    NO_SUCH_IMAGE,
    UNREADABLE_ANNOTATION,
    UNREADABLE_IMAGE,
    Fault,
)
from utils.data.images import IMAGE_SUFFIXES, read_image_header
from utils.data.imagesets import ImageRef, annotation_files, image_files
from utils.data.orientation import UNKNOWN_FRAME, Frame, FrameCounts, ImageLayout
from utils.data.parallel import read_all
from utils.data.reading import describe_read_error
from utils.data.vocxml import AnnotatedObject, read_frame, read_objects
from utils.errors import UserError


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and its annotated objects.

    Attributes:
        image_id: Name of the image without suffix.
        image: The image file.
        boxes: float32 (N, 4), xyxy pixels as annotated; they may extend beyond the image.
        labels: int32 (N,), indices into the list of classes.
        difficult: bool (N,), objects that VOC's evaluation ignores.
        width: Width of the image as decoded, after its EXIF orientation was applied.
        height: Height of the image as decoded.
    """

    image_id: str
    image: Path
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    width: int
    height: int


class AnnotatedImage(NamedTuple):
    """An image with its annotation, all numbers as annotated.

    Attributes:
        ref: The image in its VOC folder.
        image: The image file.
        layout: Size and orientation of the image.
        objects: The usable objects of the annotation.
    """

    ref: ImageRef
    image: Path
    layout: ImageLayout
    objects: list[AnnotatedObject]


def read_samples(
    refs: Sequence[ImageRef], classes: Sequence[str]
) -> tuple[list[Sample], list[Fault]]:
    """Reads annotations and image headers into samples, see `read_annotated`."""
    annotated, faults = read_annotated(refs, classes)
    return [_to_sample(each) for each in annotated], faults


def read_annotated(
    refs: Sequence[ImageRef], classes: Sequence[str]
) -> tuple[list[AnnotatedImage], list[Fault]]:
    """Reads annotations and image headers.

    Images are left out if they are missing, unreadable or have no readable annotation, and objects
    if `read_objects` finds them unusable.

    Args:
        refs: The images.
        classes: Names of the classes, by label.

    Returns:
        The images, in the order of `refs`, and all faults of the files.

    Raises:
        JobError: The disk or network folder does not respond.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    folders = {path: _Folder(path) for path in {ref.voc_dir for ref in refs}}

    def read(
        ref: ImageRef, frame_counts: FrameCounts = UNKNOWN_FRAME
    ) -> tuple[AnnotatedImage | None, list[Fault]]:
        return _read_image(ref, folders[ref.voc_dir], label_of, frame_counts)

    results = read_all(read, refs, "reading annotations", _image_name)
    for index, (ref, (_, found)) in enumerate(zip(refs, results, strict=True)):
        if any(fault.kind == MISPLACED for fault in found):
            results[index] = read(ref, folders[ref.voc_dir].frame_counts)
    images = [image for image, _ in results if image]
    return images, [fault for _, found in results for fault in found]


class _Folder:
    """The files of a VOC folder."""

    def __init__(self, voc_dir: Path):
        self.images = image_files(voc_dir)
        self.annotations = annotation_files(voc_dir)

    @cached_property
    def frame_counts(self) -> FrameCounts:
        """What the annotations of all images show, so that every image set gets the same answer."""
        annotated = [image_id for image_id in self.images if image_id in self.annotations]
        counts = Counter(read_all(self._frame, annotated, "reading orientations", self.images.get))
        return FrameCounts(counts["stored"], counts["decoded"])

    def _frame(self, image_id: str) -> Frame | None:
        try:
            layout = _read_layout(self.images[image_id])
            if layout.stored_size == layout.size:
                return None
            return read_frame(self.annotations[image_id], layout)
        except (UserError, OSError):
            return None  # reported if the image is used


def _read_layout(image: Path) -> ImageLayout:
    (height, width), orientation = read_image_header(image)
    return ImageLayout(height, width, orientation)


def try_layout(image: Path) -> ImageLayout | Fault:
    """Reads size and orientation of an image from its header; returns a fault if that fails."""
    if image.suffix.lower() not in IMAGE_SUFFIXES:
        kind = image.suffix or "without suffix"
        detail = f"images {kind} are not supported, convert them to JPEG"
        return Fault(UNREADABLE_IMAGE, image, detail)
    try:
        return _read_layout(image)
    except (UserError, OSError) as error:
        return Fault(UNREADABLE_IMAGE, image, describe_read_error(error, image))


def _image_name(ref: ImageRef) -> Path:
    return ref.voc_dir / "JPEGImages" / ref.image_id


def _read_image(
    ref: ImageRef,
    folder: _Folder,
    label_of: Mapping[str, int],
    frame_counts: FrameCounts,
) -> tuple[AnnotatedImage | None, list[Fault]]:
    image, annotation = folder.images.get(ref.image_id), folder.annotations.get(ref.image_id)
    if image is None and annotation is None:
        path = _image_name(ref)
        return None, [Fault(NO_SUCH_IMAGE, path, "listed, but there is no file of this name")]
    if ref.image_id.splitlines() != [ref.image_id.strip()]:
        detail = "a line of a list cannot hold its name, rename it and its annotation"
        return None, [Fault(UNREADABLE_IMAGE, image or annotation, detail)]
    if image is None:
        return None, [Fault(LONE_ANNOTATION, annotation)]
    if annotation is None:
        return None, [Fault(LONE_IMAGE, image)]
    layout = try_layout(image)
    if isinstance(layout, Fault):
        return None, [layout]
    try:
        objects, faults = read_objects(annotation, label_of, layout, frame_counts)
    except (UserError, OSError) as error:
        return None, [Fault(UNREADABLE_ANNOTATION, annotation, str(error))]
    return AnnotatedImage(ref, image, layout, objects), faults


def _to_sample(annotated: AnnotatedImage) -> Sample:
    objects = annotated.objects
    return Sample(
        image_id=annotated.ref.image_id,
        image=annotated.image,
        boxes=np.array([each.box for each in objects], np.float32).reshape(-1, 4),
        labels=np.array([each.label for each in objects], np.int32),
        difficult=np.array([each.difficult for each in objects], bool),
        width=annotated.layout.width,
        height=annotated.layout.height,
    )
