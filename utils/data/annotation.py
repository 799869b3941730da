"""Reads the annotations of a set of images into samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data.faults import (
    LONE_ANNOTATION,
    LONE_IMAGE,
    MISPLACED,
    NO_SUCH_IMAGE,
    UNREADABLE_IMAGE,
    Fault,
)
from utils.data.imagesets import ImageRef
from utils.data.objects import AnnotatedObject, find_plain_labels, usable_objects
from utils.data.orientation import ImageLayout
from utils.data.samples import Sample, Samples
from utils.data.vocfolder import VocFolder, VocFolders, group_by_folder


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
    refs: Sequence[ImageRef], classes: Sequence[str], folders: VocFolders | None = None
) -> tuple[Samples, list[Fault]]:
    """Reads annotations and image headers into samples, see `read_annotated`."""
    folders = folders or VocFolders()
    label_of = {name: label for label, name in enumerate(classes)}
    parts, places = [], []
    others: dict[int, Sample] = {}
    faults_of: dict[int, list[Fault]] = {}
    for voc_dir, indices in _read(refs, folders).items():
        folder = folders.folder(voc_dir)
        plain, samples = _plain_samples(folder, refs, indices, classes)
        parts.append(samples)
        places.append(plain)
        for index in np.setdiff1d(indices, plain, assume_unique=True).tolist():
            image, faults_of[index] = _judge(refs[index], folder, label_of)
            if image:
                others[index] = _to_sample(image)
    samples = Samples.joined([*parts, Samples.of(others.values())])
    order = np.argsort(np.concatenate([*places, np.array([*others], int)]), kind="stable")
    if (order[1:] < order[:-1]).any():
        samples = samples.take(order)
    return samples, [fault for index in sorted(faults_of) for fault in faults_of[index]]


def read_annotated(
    refs: Sequence[ImageRef], classes: Sequence[str], folders: VocFolders | None = None
) -> tuple[list[AnnotatedImage], list[Fault]]:
    """Reads annotations and image headers.

    Images are left out if they are missing, unreadable or have no readable annotation, and objects
    if `usable_objects` finds them unusable.

    Args:
        refs: The images.
        classes: Names of the classes, by label.
        folders: The folders of the job, if it has already read some of their files.

    Returns:
        The images, in the order of `refs`, and all faults of the files.

    Raises:
        JobError: The disk or network folder does not respond.
    """
    folders = folders or VocFolders()
    _read(refs, folders)
    label_of = {name: label for label, name in enumerate(classes)}
    results = [_judge(ref, folders.folder(ref.voc_dir), label_of) for ref in refs]
    images = [image for image, _ in results if image]
    return images, [fault for _, found in results for fault in found]


def _read(refs: Sequence[ImageRef], folders: VocFolders) -> dict[Path, list[int]]:
    """Reads the files of images that have both of them; returns the indices by folder."""
    groups = group_by_folder(ref.voc_dir for ref in refs)
    for voc_dir, indices in groups.items():
        image_ids = [refs[index].image_id for index in indices]
        images, annotations = folders.folder(voc_dir).images, folders.folder(voc_dir).annotations
        images.read(each for each in image_ids if each in annotations.names)
        annotations.read(each for each in image_ids if each in images.row_of)
    return groups


def _plain_samples(
    folder: VocFolder, refs: Sequence[ImageRef], indices: Sequence[int], classes: Sequence[str]
) -> tuple[np.ndarray, Samples]:
    """Returns indices and samples of the images in which `usable_objects` would find no fault.

    These are nearly all images. One by one, they would take several times as long.
    """
    images, row_of = folder.images, folder.annotations.row_of
    known = [
        index
        for index in indices
        if (image_id := refs[index].image_id) in images.row_of
        and image_id in row_of
        and _fits_a_line(image_id)
    ]
    image_ids = [refs[index].image_id for index in known]
    layouts = images.table.layouts[np.array([images.row_of[each] for each in image_ids], int)]
    table = folder.annotations.table.take(np.array([row_of[each] for each in image_ids], int))
    is_plain, labels = find_plain_labels(table, layouts, classes)
    samples = Samples(
        image_ids,
        [images.folder] * len(image_ids),
        [images.names[each] for each in image_ids],
        layouts[:, :2],
        table.starts,
        table.boxes.astype(np.float32),
        labels,
        table.difficult,
        table.crowd,
    )
    if not is_plain.all():
        samples = samples.take(np.flatnonzero(is_plain))
    return np.array(known, int)[is_plain], samples


def _fits_a_line(image_id: str) -> bool:
    return image_id.splitlines() == [image_id.strip()]


def _judge(
    ref: ImageRef, folder: VocFolder, label_of: Mapping[str, int]
) -> tuple[AnnotatedImage | None, list[Fault]]:
    """Finds the usable objects of an image whose files were read, and its faults."""
    has_image, has_xml = (
        ref.image_id in files.names for files in (folder.images, folder.annotations)
    )
    if not has_image and not has_xml:
        path = ref.voc_dir / "JPEGImages" / ref.image_id
        return None, [Fault(NO_SUCH_IMAGE, path, "listed, but there is no file of this name")]
    image = folder.images.path(ref.image_id) if has_image else None
    xml = folder.annotations.path(ref.image_id) if has_xml else None
    if not _fits_a_line(ref.image_id):
        detail = "a line of a list cannot hold its name, rename it and its annotation"
        return None, [Fault(UNREADABLE_IMAGE, image or xml, detail)]
    if not has_image:
        return None, [Fault(LONE_ANNOTATION, xml)]
    if not has_xml:
        return None, [Fault(LONE_IMAGE, image)]
    layout = folder.layout(ref.image_id)
    if isinstance(layout, Fault):
        return None, [layout]
    annotation = folder.annotation(ref.image_id)
    if isinstance(annotation, Fault):
        return None, [annotation]
    objects, faults = usable_objects(annotation, xml, label_of, layout)
    if any(fault.kind == MISPLACED for fault in faults):
        objects, faults = usable_objects(annotation, xml, label_of, layout, folder.frame_counts)
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
        crowd=np.array([each.crowd for each in objects], bool),
    )
