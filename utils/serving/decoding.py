"""Decodes uploaded images, whose size is checked before."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from utils.data.encoding import encode_image
from utils.data.images import decode_image, read_header
from utils.errors import UserError
from utils.inference.detections import Detections
from utils.inference.draw import draw_boxes
from utils.inference.thresholds import Thresholds
from utils.serving.multipart import Upload
from utils.serving.network import Network
from utils.serving.refusals import Refusal, bad_request
from utils.serving.work import Picture


def decode(upload: Upload, max_pixels: int) -> np.ndarray:
    """Decodes an image.

    Args:
        upload: The file.
        max_pixels: Maximum number of pixels, by its header.

    Returns:
        RGB uint8 (h, w, 3), upright.

    Raises:
        Refusal: It is empty, damaged, not an image, or too large.
    """
    if not upload.data:
        raise bad_request(f"{upload.name} is empty, send the bytes of an image file")
    name = PurePosixPath(upload.name)
    try:
        height, width = read_header(upload.data, name)[0]
        if height * width > max_pixels:
            raise Refusal(
                413,
                "too_many_pixels",
                f"{upload.name} has {width}x{height} pixels, more than {max_pixels:,}: reduce it "
                "or cut it into tiles",
            )
        return decode_image(np.frombuffer(upload.data, np.uint8), name)
    except UserError as error:
        raise bad_request(str(error)) from error


def decode_all(
    uploads: Sequence[Upload], network: Network, max_pixels: int, thresholds: Thresholds | None
) -> Iterator[Picture]:
    """Decodes images one by one for a network; `thresholds` are those of `Picture`.

    Raises:
        Refusal: See `decode`.
    """
    for upload in uploads:
        image = decode(upload, max_pixels)
        yield Picture(upload.name, network.prepare(image), thresholds)


def draw(upload: Upload, max_pixels: int, found: Detections, classes: Sequence[str]) -> bytes:
    """Draws detections into an image, as predict.py does.

    The image is decoded again: keeping it until the network has run would take much more memory
    than the file does.

    Returns:
        A JPEG file.

    Raises:
        Refusal: It is too wide or high for JPEG, or see `decode`.
    """
    drawn = draw_boxes(decode(upload, max_pixels), found, classes)
    try:
        return encode_image(drawn, ".jpg")
    except UserError as error:
        raise Refusal(
            413, "too_many_pixels", f"{upload.name} is too wide or high for JPEG, ask for JSON"
        ) from error
