"""Reads the images of a test set, and rejects a set that cannot be scored."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.data.annotation import read_samples
from utils.data.borders import reachable_iou
from utils.data.classes import find_classes
from utils.data.datacheck import decode_all
from utils.data.faults import fault_lines
from utils.data.imagesets import ImageRef
from utils.data.samples import Sample
from utils.data.vocfolder import VocFolders
from utils.errors import UserError
from utils.text import counted, first_few


def read_test_set(
    refs: Sequence[ImageRef], classes: Sequence[str], image_set: str, data: Path
) -> list[Sample]:
    """Reads annotations and decodes every image once, to find damaged files before predicting.

    Images and objects that cannot be used are left out and listed on standard error.

    Args:
        refs: Images of the set, from `list_images`.
        classes: Names of the classes that are scored, by label.
        image_set: Name of the set, for messages.
        data: The VOCdevkit, for messages.

    Raises:
        UserError: No image can be read, or no object has one of the classes.
    """
    folders = VocFolders(thorough=True)
    samples, faults = read_samples(refs, classes, folders)
    decoded = decode_all(samples, image_set, folders)
    folders.save()
    samples, faults = list(decoded.samples), faults + decoded.faults
    if faults:
        print(fault_lines(faults), end="", file=sys.stderr)
    if not samples:
        raise UserError(f"no image of set {image_set} of {data} can be read, repair the files")
    if not any(len(sample.labels) for sample in samples):
        raise UserError(
            f"set {image_set} of {data} has no object of the run's classes ({first_few(classes)}), "
            f"it has {first_few(find_classes(refs, folders)) or 'no objects'}; choose another set "
            "or run"
        )
    return samples


def warn_of_unreachable_objects(samples: Sequence[Sample], iou: float) -> None:
    """Reports the objects of which too little is inside the image to be found.

    Boxes are scored as annotated, as the VOC development kit and pycocotools do, while detections
    end at the border of the image. Objects marked `difficult` are not reported, since VOC's metrics
    ignore them.

    Args:
        samples: Images with their ground truth.
        iou: Minimum IoU of a match, 0..1.
    """
    counts = {
        sample.image: np.count_nonzero(
            (reachable_iou(sample.boxes, (sample.height, sample.width)) < iou) & ~sample.difficult
        )
        for sample in samples
    }
    images = [image for image, count in counts.items() if count]
    if images:
        print(
            "warning: objects that extend so far beyond the image that no box inside it reaches "
            f"an IoU of {iou:g}: {sum(counts.values())} in {counted(len(images), 'image')}, first "
            f"{images[0]}; they count as missed, since boxes are scored as annotated",
            file=sys.stderr,
        )
