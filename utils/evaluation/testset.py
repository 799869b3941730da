"""Reads the images of a test set, and rejects a set that cannot be scored."""

import sys
from collections.abc import Sequence
from pathlib import Path

from utils.data.annotation import Sample, read_samples
from utils.data.classes import find_classes
from utils.data.datacheck import decode_all
from utils.data.faults import fault_lines
from utils.data.imagesets import ImageRef
from utils.errors import UserError
from utils.text import first_few


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
    samples, faults = read_samples(refs, classes)
    decoded = decode_all(samples, image_set)
    samples, faults = decoded.samples, faults + decoded.faults
    if faults:
        print(fault_lines(faults), end="", file=sys.stderr)
    if not samples:
        raise UserError(f"no image of set {image_set} of {data} can be read, repair the files")
    if not any(len(sample.labels) for sample in samples):
        raise UserError(
            f"set {image_set} of {data} has no object of the run's classes ({first_few(classes)}), "
            f"it has {first_few(find_classes(refs)) or 'no objects'}; choose another set or run"
        )
    return samples
