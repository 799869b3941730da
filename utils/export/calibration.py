"""Reads the images on which the ranges of the activations are measured."""

import sys

from utils.config import Resize
from utils.errors import UserError
from utils.export.canvases import evenly_spaced, read_canvases
from utils.export.quantizer import CalibrationSet
from utils.export.run_images import RunImages
from utils.memory import available_memory
from utils.text import counted, first_few


def read_calibration_set(
    images: RunImages, count: int, size: tuple[int, int], resize: Resize = "letterbox"
) -> CalibrationSet:
    """Reads training images of a run, and fits them into the input as prediction does.

    The images are evenly spaced over the list of those that exist, so the choice is repeatable.

    Args:
        images: The images of the run.
        count: Number of images. If there are fewer, all are used, and a note says so.
        size: Height and width of the network's input.
        resize: How an image is fitted into the input.

    Raises:
        UserError: No training image is found, one cannot be read, or the memory does not suffice.
        JobError: The disk or network folder does not respond.
    """
    found, missing = images.files("train")
    if missing:
        total = counted(len(images.train), "training image")
        _note(
            f"{images.folder} lacks {len(missing)} of the {total} of {images.run}: "
            f"{first_few(missing, 3)}"
        )
    paths = evenly_spaced(found, count)
    if len(paths) < count:
        _note(f"calibrating on all {counted(len(paths), 'training image')}, fewer than {count}")
    _check_memory(len(paths), size)
    return CalibrationSet(read_canvases(paths, size, resize))


def _check_memory(count: int, size: tuple[int, int]) -> None:
    needed, available = 3 * count * size[0] * size[1], available_memory()
    if available is not None and needed > available:
        most = max(1, count * available // needed)
        raise UserError(
            f"{counted(count, 'calibration image')} of {size[0]}x{size[1]} need "
            f"{needed >> 20} MiB of memory, of which {available >> 20} MiB are available: use "
            f"--calibrate {most} or less, or free some memory"
        )


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
