"""Reads the annotations of a set of images into samples."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.data.classes import find_classes, read_classes
from utils.data.faults import LONE_ANNOTATION, LONE_IMAGE, UNREADABLE_IMAGE, Fault
from utils.data.images import DECODERS, read_image_header
from utils.data.imagesets import ImageRef, annotation_files, image_files, resolve_splits
from utils.data.vocxml import ImageLayout, read_objects
from utils.errors import UserError
from utils.lookahead import read_ahead


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
    samples, faults = [], []
    label_of = {name: label for label, name in enumerate(classes)}
    folders = {ref.voc_dir for ref in refs}
    images = {path: image_files(path) for path in folders}
    annotations = {path: annotation_files(path) for path in folders}

    def read(ref: ImageRef) -> tuple[Sample | None, list[Fault]]:
        image = images[ref.voc_dir].get(ref.image_id)
        annotation = annotations[ref.voc_dir].get(ref.image_id)
        return _read_sample(ref, image, annotation, label_of)

    with (
        closing(read_ahead(read, refs, 2 * DECODERS, DECODERS, _image_name)) as results,
        tqdm(
            results, "reading annotations", len(refs), delay=2, leave=False, disable=None
        ) as progress,
    ):
        for sample, found in progress:
            faults += found
            if sample:
                samples.append(sample)
    return samples, faults


def read_training_samples(
    data: Path,
    train_set: str | None,
    classes_file: Path | None,
    seed: int,
) -> tuple[list[Sample], list[str]]:
    """Reads the samples that training would use; reports the split on standard error.

    Args:
        data: A VOCdevkit.
        train_set: Image sets, see `resolve_splits`; None for the default split.
        classes_file: File with one class name per line; None for the classes in the annotations.
        seed: Seed of the choice of held-out images.

    Returns:
        The samples and the names of the classes, by label.
    """
    split = resolve_splits(data, train_set, seed=seed)
    print(f"{data}: {split.description}", file=sys.stderr)
    classes = read_classes(classes_file) if classes_file else find_classes(split.train)
    samples, faults = read_samples(split.train, classes)
    if faults:
        print(f"faults ignored in the dataset: {len(faults)}", file=sys.stderr)
    return samples, classes


def _image_name(ref: ImageRef) -> Path:
    return ref.voc_dir / "JPEGImages" / ref.image_id


def _read_sample(
    ref: ImageRef, image: Path | None, annotation: Path | None, label_of: Mapping[str, int]
) -> tuple[Sample | None, list[Fault]]:
    if image is None and annotation is None:
        path = _image_name(ref)
        return None, [Fault("no such image", path, "listed, but there is no file of this name")]
    if image is None:
        return None, [Fault(LONE_ANNOTATION, annotation)]
    if annotation is None:
        return None, [Fault(LONE_IMAGE, image)]
    try:
        (height, width), orientation = read_image_header(image)
    except (UserError, OSError) as error:
        return None, [Fault(UNREADABLE_IMAGE, image, str(error))]
    try:
        objects, faults = read_objects(
            annotation, label_of, ImageLayout(height, width, orientation)
        )
    except (UserError, OSError) as error:
        return None, [Fault("unreadable annotation", annotation, str(error))]
    sample = Sample(
        image_id=ref.image_id,
        image=image,
        boxes=np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in objects], np.int32),
        difficult=np.array([is_difficult for _, _, is_difficult in objects], bool),
        width=width,
        height=height,
    )
    return sample, faults
