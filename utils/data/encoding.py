"""Writes images in any format."""

from pathlib import Path

import cv2
import numpy as np

from utils.errors import UserError
from utils.files import written_whole


def encode_image(image: np.ndarray, suffix: str) -> bytes:
    """Encodes an RGB uint8 (h, w, 3) image; JPEG at quality 95, other formats lossless.

    Raises:
        UserError: The image cannot be encoded, for example because it is too wide for the format.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    try:
        done, data = cv2.imencode(suffix, bgr)
    except cv2.error:
        done = False
    if not done:
        height, width = image.shape[:2]
        raise UserError(
            f"an image of {width}x{height} pixels cannot be written as {suffix}: use another "
            "format, or a smaller image"
        )
    return data.tobytes()


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes an RGB uint8 (h, w, 3) image in the format of the suffix, see `encode_image`.

    Raises:
        UserError: It cannot be encoded.
    """
    try:
        data = encode_image(image, path.suffix)
    except UserError as error:
        raise UserError(f"cannot write {path}: {error}") from error
    with written_whole(path) as (part,):
        part.write_bytes(data)
