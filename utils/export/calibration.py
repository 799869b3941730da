"""Reads the images on which the ranges of the activations are measured."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.config import Resize
from utils.data.images import read_image
from utils.data.imagesets import image_files
from utils.data.letterbox import Letterbox
from utils.data.parallel import read_all
from utils.errors import UserError
from utils.export.quantizer import CalibrationSet
from utils.export.run_images import RunImages
from utils.memory import available_memory
from utils.text import counted, first_few

# Bytes that are needed per byte of the images: themselves, and a quantizer's copy in float32.
COPIES = 1 + 4


def read_calibration_set(
    images: RunImages, count: int, size: tuple[int, int], resize: Resize = "letterbox"
) -> CalibrationSet:
    """Reads training images of a run, and fits them into the input as prediction does.

    The images are evenly spaced over the list of those that exist, so the choice is repeatable, and
    covers lists that are sorted by scene or class.

    Args:
        images: The images of the run.
        count: Number of images. If there are fewer, all are used, and a note says so.
        size: Height and width of the network's input.
        resize: How an image is fitted into the input.

    Raises:
        UserError: No training image is found, one cannot be read, or the memory does not suffice.
        JobError: The disk or network folder does not respond.
    """
    paths = _evenly_spaced(_existing(images), count)
    if len(paths) < count:
        _note(f"calibrating on all {counted(len(paths), 'training image')}, fewer than {count}")
    _check_memory(len(paths), size)
    canvases = np.empty((len(paths), *size, 3), np.uint8)

    def read(index: int) -> None:
        image = read_image(paths[index], size)
        fit = Letterbox.fit(image.shape[:2], size, stretch=resize == "stretch")
        fit.apply(image, canvases[index])

    read_all(read, range(len(paths)), "reading calibration images", lambda index: paths[index])
    return CalibrationSet(canvases)


def _existing(images: RunImages) -> list[Path]:
    """Returns the files of the training images; reports missing ones on standard error."""
    files = {folder: image_files(folder) for folder in {ref.voc_dir for ref in images.train}}
    found, missing = [], []
    for ref in images.train:
        path = files[ref.voc_dir].get(ref.image_id)
        if path is None:
            missing.append(f"{ref.voc_dir.name}/{ref.image_id}")
        else:
            found.append(path)
    total = counted(len(images.train), "training image")
    if not found:
        raise UserError(
            f"none of the {total} of {images.run} is in {images.folder} "
            f"({first_few(missing, 3) or 'its list is empty'}): specify their VOCdevkit with --data"
        )
    if missing:
        _note(
            f"{len(missing)} of the {total} of {images.run} are not in {images.folder} and are "
            f"left out: {first_few(missing, 3)}"
        )
    return found


def _evenly_spaced(paths: Sequence[Path], count: int) -> list[Path]:
    count = min(count, len(paths))
    return [paths[index * len(paths) // count] for index in range(count)]


def _check_memory(count: int, size: tuple[int, int]) -> None:
    needed, available = COPIES * 3 * count * size[0] * size[1], available_memory()
    if available is not None and needed > available:
        most = max(1, count * available // needed)
        raise UserError(
            f"{counted(count, 'calibration image')} of {size[0]}x{size[1]} need about "
            f"{needed >> 20} MiB of memory, of which {available >> 20} MiB are available: use "
            f"--calibrate {most} or less, or free some memory"
        )


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
