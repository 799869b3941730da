"""Reads image files of any format as RGB arrays, and writes them."""

import os
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from utils.errors import UserError
from utils.files import written_whole

# Number of threads that decode images. On two cores, two threads keep up with a network. A GPU
# needs more: a photo of twelve megapixels takes a core about 25 ms even at 1/8 of its size.
DECODERS = max(2, min(8, os.cpu_count() or 2))

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

EXIF_ORIENTATION = 0x0112
SWAPS_SIDES = (5, 6, 7, 8)  # EXIF orientations that swap width and height

# Images are already decoded in parallel, and OpenCV's own threads would only compete. Its messages
# about damaged files do not contain the file name; the errors raised here do.
cv2.setNumThreads(0)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Pillow only reads headers here, and OpenCV has its own limit of 2**30 pixels.
Image.MAX_IMAGE_PIXELS = None


def read_image_size(path: Path) -> tuple[int, int]:
    """Reads the height and width of an image as decoded, from the header of the file.

    Raises:
        UserError: The file is not an image.
    """
    return read_image_header(path)[0]


def read_image_header(path: Path) -> tuple[tuple[int, int], int]:
    """Reads the header of an image file.

    Returns:
        Height and width as decoded, after the EXIF orientation was applied, and that orientation,
        1 to 8.

    Raises:
        UserError: The file is not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = _orientation(image.info.get("exif"))
    except (UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise UserError(f"cannot read image {path}: {error}; replace or remove the file") from error
    return (width, height) if orientation in SWAPS_SIDES else (height, width), orientation


def _orientation(data: bytes | None) -> int:
    # `Image.getexif` would decode a whole PNG, and reads XMP, which OpenCV ignores.
    exif = Image.Exif()
    try:
        exif.load(data)
        return exif.get(EXIF_ORIENTATION, 1)
    except (SyntaxError, ValueError, struct.error):  # the image itself can be intact
        return 1


def reduction(size: tuple[int, int], min_size: tuple[int, int]) -> int:
    """Returns the largest factor of 1, 2, 4 and 8 for which `size` / factor >= `min_size`."""
    shrink = min(size[0] / max(min_size[0], 1), size[1] / max(min_size[1], 1))
    return next((factor for factor in (8, 4, 2) if shrink >= factor), 1)


def read_image(
    path: Path, min_size: tuple[int, int] | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Decodes an image file: applies the EXIF orientation and converts any format to RGB.

    Args:
        path: The file; its name may contain any characters.
        min_size: Height and width that the caller needs. An image at least twice as large is
            returned at 1/2, 1/4 or 1/8 of its size, with pixels averaged, which is several times
            faster for JPEG. Pixel i of the result then covers pixels [i f, (i + 1) f) of the
            image, where f is the factor, and sizes are rounded up.
        size: Height and width of the image as decoded, if known, so that the header need not
            be read.

    Returns:
        uint8 (h, w, 3), RGB.

    Raises:
        UserError: The file is damaged or not an image.
    """
    factor = reduction(size or read_image_size(path), min_size) if min_size else 1
    data = np.fromfile(path, np.uint8)
    try:
        if data[:2].tobytes() == b"\xff\xd8":  # JPEG: only its decoder is faster at a reduced size
            return _decode(data, factor, path)
        image = _decode(data, 1, path)
    except cv2.error as error:
        raise UserError(f"cannot read image {path}: {error.err}; replace or remove it") from error
    if factor > 1:
        height, width = image.shape[:2]
        image = cv2.copyMakeBorder(
            image, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE
        )
        image = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return image


def _decode(data: np.ndarray, factor: int, path: Path) -> np.ndarray:
    flags = {1: 0, 2: 16, 4: 32, 8: 64}[factor]  # cv2.IMREAD_REDUCED_* without their BGR bit
    image = cv2.imdecode(data, flags | cv2.IMREAD_COLOR_RGB) if data.size else None
    if image is None:
        raise UserError(
            f"cannot read image {path}: damaged, truncated or not an image; replace or remove it"
        )
    return image


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes an RGB uint8 (h, w, 3) image; JPEG at quality 95, other formats lossless."""
    data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with written_whole(path) as (part,):
        part.write_bytes(data)
