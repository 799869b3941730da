"""Encodes images as files of any format."""

import cv2
import numpy as np

from utils.errors import UserError


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
