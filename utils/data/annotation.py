"""Reads the annotations of a set of images into samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

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
from utils.data.images import read_image_header
from utils.data.imagesets import ImageRef, annotation_files, image_files
from utils.data.orientation import UNKNOWN_FRAME, Frame, FrameCounts, ImageLayout
from utils.data.parallel import read_all
from utils.data.reading import describe_read_error
from utils.data.vocxml import read_frame, read_objects
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


def read_samples(
    refs: Sequence[ImageRef], classes: Sequence[str]
) -> tuple[list[Sample], list[Fault]]:
    """Reads annotations and image headers.

    An image without a sample is missing, unreadable or has no readable annotation. Samples do not
    contain the objects that `read_objects` finds unusable.

    Args:
        refs: The images.
        classes: Names of the classes, by label.

    Returns:
        The samples, in the order of `refs`, and all faults of the files.

    Raises:
        JobError: The disk or network folder does not respond.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    folders = {path: _Folder(path) for path in {ref.voc_dir for ref in refs}}

    def read(ref: ImageRef) -> tuple[Sample | None, list[Fault]]:
        return _read_sample(ref, folders[ref.voc_dir], label_of)

    results = read_all(read, refs, "reading annotations", _image_name)
    for index, (ref, (_, found)) in enumerate(zip(refs, results, strict=True)):
        if any(fault.kind == MISPLACED for fault in found):
            folder = folders[ref.voc_dir]
            results[index] = _read_sample(ref, folder, label_of, folder.frame_counts)
    samples = [sample for sample, _ in results if sample]
    return samples, [fault for _, found in results for fault in found]


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


def _image_name(ref: ImageRef) -> Path:
    return ref.voc_dir / "JPEGImages" / ref.image_id


def _read_sample(
    ref: ImageRef,
    folder: _Folder,
    label_of: Mapping[str, int],
    frame_counts: FrameCounts = UNKNOWN_FRAME,
) -> tuple[Sample | None, list[Fault]]:
    image, annotation = folder.images.get(ref.image_id), folder.annotations.get(ref.image_id)
    if image is None and annotation is None:
        path = _image_name(ref)
        return None, [Fault(NO_SUCH_IMAGE, path, "listed, but there is no file of this name")]
    if image is None:
        return None, [Fault(LONE_ANNOTATION, annotation)]
    if annotation is None:
        return None, [Fault(LONE_IMAGE, image)]
    try:
        layout = _read_layout(image)
    except (UserError, OSError) as error:
        return None, [Fault(UNREADABLE_IMAGE, image, describe_read_error(error, image))]
    try:
        objects, faults = read_objects(annotation, label_of, layout, frame_counts)
    except (UserError, OSError) as error:
        return None, [Fault(UNREADABLE_ANNOTATION, annotation, str(error))]
    sample = Sample(
        image_id=ref.image_id,
        image=image,
        boxes=np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in objects], np.int32),
        difficult=np.array([is_difficult for _, _, is_difficult in objects], bool),
        width=layout.width,
        height=layout.height,
    )
    return sample, faults
