"""Reads annotations and images; what cannot be read is a fault instead of an error."""

from hashlib import blake2b
from pathlib import Path

import numpy as np

from utils.data.faults import UNREADABLE_ANNOTATION, UNREADABLE_IMAGE, Fault
from utils.data.images import (
    IMAGE_SUFFIXES,
    LIMIT_DIVISORS,
    MAX_PIXELS,
    decode_image,
    read_header,
    read_image,
    read_image_header,
    reduction,
)
from utils.data.orientation import ImageLayout
from utils.data.reading import describe_read_error
from utils.data.tables import ImageContent
from utils.data.vocxml import Annotation, read_annotation
from utils.errors import UserError
from utils.regular_files import read_regular

# Of larger images, the header is read first, by a function that knows the limit of each format.
MAX_AT_ONCE = 2**26  # bytes of a file
MAX_PIXELS_AT_ONCE = MAX_PIXELS // max(LIMIT_DIVISORS.values())


def try_layout(image: Path) -> ImageLayout | Fault:
    """Reads size and orientation of an image from its header; returns a fault if that fails."""
    if image.suffix.lower() not in IMAGE_SUFFIXES:
        kind = image.suffix or "without suffix"
        detail = f"images {kind} are not supported, convert them to JPEG"
        return Fault(UNREADABLE_IMAGE, image, detail)
    try:
        return _layout_of(*read_image_header(image))
    except (UserError, OSError) as error:
        return Fault(UNREADABLE_IMAGE, image, describe_read_error(error, image))


def _layout_of(size: tuple[int, int], orientation: float) -> ImageLayout:
    # EXIF can hold any type of number.
    return ImageLayout(*size, int(orientation) if orientation in range(1, 9) else 1)


def try_annotation(path: Path) -> Annotation | Fault:
    """Reads an annotation; returns a fault if that fails."""
    try:
        return read_annotation(path)
    except (UserError, OSError) as error:
        return Fault(UNREADABLE_ANNOTATION, path, str(error))


def try_header(path: Path) -> ImageContent | Fault:
    """Reads the header of an image; returns a fault if that fails."""
    layout = try_layout(path)
    return layout if isinstance(layout, Fault) else ImageContent(layout)


def try_whole(path: Path) -> ImageContent | Fault:
    """Reads the header and the pixels of an image at once.

    If the pixels are damaged, or of another size than the header says, the content is that of the
    header.
    """
    try:
        data = read_regular(path, MAX_AT_ONCE)
        (height, width), orientation = read_header(data, path)
        if height * width <= MAX_PIXELS_AT_ONCE:
            factor = reduction((height, width), (1, 1))
            small = decode_image(np.frombuffer(data, np.uint8), path, factor)
            if small.shape[:2] == (-(-height // factor), -(-width // factor)):
                return _content(_layout_of((height, width), orientation), small)
    except (UserError, OSError):
        pass  # `try_header` and `try_pixels` find out which of the two is damaged, and how
    return try_header(path)


def try_pixels(image: Path, layout: ImageLayout) -> ImageContent | Fault:
    """Decodes an image whose header was read; returns a fault if that fails."""
    try:
        return _content(layout, read_image(image, (1, 1), layout.size))
    except (UserError, OSError) as error:
        return Fault(UNREADABLE_IMAGE, image, describe_read_error(error, image))


def _content(layout: ImageLayout, small: np.ndarray) -> ImageContent:
    return ImageContent(layout, blake2b(small, digest_size=16).digest(), small.shape[:2])
