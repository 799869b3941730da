"""Reading pictures, as users have them, into RGB arrays."""

import os
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from utils.errors import UserError

# Threads that decode side by side: two hide behind a network on two cores, but a photo of twelve
# megapixels takes a core some 25 ms, even at an eighth, and a GPU waits for none.
DECODERS = max(2, min(8, os.cpu_count() or 2))

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

EXIF_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)  # orientations that swap width and height

# Whole images are decoded side by side by threads of ours, which OpenCV's own threads would fight;
# and what OpenCV prints about a damaged file lacks the file's name, which our errors give.
cv2.setNumThreads(0)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Pillow reads headers only here, and OpenCV has a limit of its own, 2**30 pixels.
Image.MAX_IMAGE_PIXELS = None


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as `read_image` returns it, from the file's header alone.

    Raises:
        UserError: The file is no image.
    """
    return read_header(path)[0]


def read_header(path: Path) -> tuple[tuple[int, int], int]:
    """What `image_size` says, and the EXIF orientation, 1 to 8, by which the image is turned.

    Raises:
        UserError: The file is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = _orientation(image.info.get("exif"))
    except (UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise UserError(f"cannot read image {path}: {error}; replace or remove the file") from error
    return (width, height) if orientation in TURNED else (height, width), orientation


def _orientation(data: bytes | None) -> int:
    # `Image.getexif` would decode a whole PNG, and reads XMP, which OpenCV does not.
    exif = Image.Exif()
    try:
        exif.load(data)
        return exif.get(EXIF_ORIENTATION, 1)
    except (SyntaxError, ValueError, struct.error):  # damaged EXIF does not damage the picture
        return 1


def reduction(size: tuple[int, int], min_size: tuple[int, int]) -> int:
    """Largest of 1, 2, 4, 8 that divides `size` (h, w) and leaves at least `min_size` (h, w)."""
    shrink = min(size[0] / max(min_size[0], 1), size[1] / max(min_size[1], 1))
    return next((factor for factor in (8, 4, 2) if shrink >= factor), 1)


def read_image(
    path: Path, min_size: tuple[int, int] | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Decode an image file: EXIF orientation applied; grey, palette, CMYK and 16 bit made RGB.

    Args:
        path: The file; its name may be in any script.
        min_size: (h, w) that is enough for the caller. A photo at least twice as large comes at
            1/2, 1/4 or 1/8, which for JPEG is several times faster and always averages instead of
            skipping pixels. Pixel i of the result then covers pixels [i f, (i + 1) f) of the
            photo, f being the factor, and sizes are rounded up.
        size: (h, w) of the photo where the caller knows it; saves reading the header.

    Returns:
        uint8 (h, w, 3), RGB.

    Raises:
        UserError: The file is damaged or no image.
    """
    factor = reduction(size or image_size(path), min_size) if min_size else 1
    data = np.fromfile(path, np.uint8)
    try:
        if data[:2].tobytes() == b"\xff\xd8":  # JPEG, the one format that decodes at less cost
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
    flags = {1: 0, 2: 16, 4: 32, 8: 64}[factor]  # cv2.IMREAD_REDUCED_*, without their BGR bit
    image = cv2.imdecode(data, flags | cv2.IMREAD_COLOR_RGB) if data.size else None
    if image is None:
        raise UserError(
            f"cannot read image {path}: damaged, cut short or no image; replace or remove it"
        )
    return image
