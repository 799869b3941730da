"""Reads image files of any format as RGB arrays, and writes them."""

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path, PurePath

import cv2
import numpy as np
from PIL import Image

from utils.cores import logical_cores
from utils.data.jpeg import count_scanned_pixels
from utils.data.png import SIGNATURE, without_metadata
from utils.errors import UserError
from utils.regular_files import check_regular

# Number of threads that decode images. On two cores, two threads keep up with a network. A GPU
# needs more: a photo of twelve megapixels takes a core about 25 ms even at 1/8 of its size.
DECODERS = max(2, min(8, logical_cores()))

# What the pinned OpenCV decodes and Pillow reads the size of, see tests/utils/data/test_formats.py.
# Of files that differ only in their suffix, the first one here is used.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".jp2", ".gif"),
    *(".jfif", ".jpe", ".mpo", ".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".ras", ".sr"),
)
WRITTEN_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "GIF", "PPM", "SUN")

# Pillow's limit for what it calls a decompression bomb: a quarter of a gigabyte in three channels
# of 8 bits, of which decoding and resizing need several copies.
MAX_PIXELS = 178_956_970
# Decoders of these formats need 8 to 17 bytes per pixel: for them, the limit is divided.
LIMIT_DIVISORS = {"AVIF": 3, "JPEG2000": 3, "GIF": 2}
MAX_SCANNED_PIXELS = 40 * MAX_PIXELS  # of a progressive JPEG; takes about 7 s
STRIP = 512  # rows that are reduced at once, a multiple of 8

EXIF_ORIENTATION = 0x0112
SWAPS_SIDES = (5, 6, 7, 8)  # EXIF orientations that swap width and height
MIRRORS_X = (2, 3, 6, 7)  # those that then reverse x
MIRRORS_Y = (3, 4, 7, 8)

FILE_TYPE_BOX = b"ftyp"  # in HEIC and AVIF files, at byte 4
# Of ISO/IEC 23008-12; `mif1` and `msf1` can also begin an AVIF file, which Pillow recognizes.
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
OTHER_IMAGE_SUFFIXES = (
    *(".heic", ".heif", ".jxl", ".psd", ".svg", ".ico", ".tga", ".dib", ".exr", ".hdr", ".pfm"),
    *(".j2k", ".jpx", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"),
)
# What Pillow raises for damaged files, besides OSError.
DAMAGED = (SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, RuntimeError)

# Images are already decoded in parallel, and OpenCV's own threads would only compete. Its messages
# about damaged files do not contain the file name; the errors raised here do.
cv2.setNumThreads(0)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Pillow only reads headers here, and OpenCV has its own limit of 2**30 pixels.
Image.MAX_IMAGE_PIXELS = None


def read_image_size(path: Path) -> tuple[int, int]:
    """Reads the height and width of an image as decoded, from the header of the file.

    Raises:
        UserError: See `read_image_header`.
    """
    return read_image_header(path)[0]


def read_image_header(path: Path) -> tuple[tuple[int, int], int]:
    """Reads the header of an image file.

    Returns:
        Height and width as decoded, after the EXIF orientation was applied, and that orientation,
        1 to 8.

    Raises:
        UserError: The file is not a regular file, not an image of a supported format, or has more
            than `MAX_PIXELS` pixels, or a part of it in formats that need more memory.
    """
    with opened(path) as image:
        size, orientation = _header_of(image)
        most = MAX_PIXELS // LIMIT_DIVISORS.get(image.format, 1)
    _check_pixels(path, size, most)
    return size, orientation


def read_header(data: bytes, name: PurePath) -> tuple[tuple[int, int], int]:
    """Reads the header of an image file that is in memory, see `read_image_header`.

    The number of pixels is not limited.

    Args:
        data: The file, or its beginning.
        name: Its name, for error messages.

    Raises:
        UserError: It is not an image of a supported format.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _header_of(image)
    except (OSError, *DAMAGED) as error:
        raise UserError(_why_unreadable(name, data[:12])) from error


def _header_of(image: Image.Image) -> tuple[tuple[int, int], int]:
    width, height = image.size
    if image.format == "TIFF":  # Pillow has already swapped the sides
        return (height, width), image.tag_v2.get(EXIF_ORIENTATION, 1)
    exif = image.info.get("exif")
    orientation = _orientation(exif) if exif else 1
    if orientation in SWAPS_SIDES:
        width, height = height, width
    return (height, width), orientation


def count_pictures(path: Path) -> int:
    """Returns the number of frames of an animation, or of pages of a TIFF file; otherwise 1.

    The further pictures in a JPEG file, such as previews, do not count.

    Raises:
        UserError: See `read_image_header`.
    """
    with opened(path) as image:
        return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Opens an image file with Pillow, which reads only its header.

    Raises:
        UserError: The file is not a regular file, or not an image of a supported format.
    """
    check_regular(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except OSError as error:
        if error.errno is not None:  # raised by the file system, not by Pillow
            raise
        raise UserError(_why_unreadable(path, _first_bytes(path))) from error
    except DAMAGED as error:
        raise UserError(_why_unreadable(path, _first_bytes(path))) from error


def _check_pixels(path: Path, size: tuple[int, int], most: int = MAX_PIXELS) -> None:
    height, width = size
    if height * width > most:
        raise UserError(
            f"cannot read image {path}: {width}x{height} is more than {most:,} pixels; "
            "reduce it or cut it into tiles"
        )


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)


def _why_unreadable(path: PurePath, start: bytes) -> str:
    """Explains why neither Pillow nor OpenCV reads a file that begins with these 12 bytes."""
    if start[4:8] == FILE_TYPE_BOX and start[8:12] in HEIC_BRANDS:
        return f"cannot read image {path}: HEIC is not supported, convert it to JPEG"
    suffix = path.suffix.lower()
    if suffix in OTHER_IMAGE_SUFFIXES:
        return f"cannot read image {path}: {suffix} is not supported, convert it to JPEG or PNG"
    return f"cannot read image {path}: damaged, truncated or not an image; replace or remove it"


def _orientation(data: bytes) -> int:
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
        UserError: The file is damaged, or of another size than its header says, or see
            `read_image_header`.
    """
    if size:
        check_regular(path)
        _check_pixels(path, size)
    else:
        size = read_image_size(path)
    factor = reduction(size, min_size) if min_size else 1
    image = decode_image(np.frombuffer(path.read_bytes(), np.uint8), path, factor)
    # Pillow and OpenCV can disagree on a file with two headers; boxes would be misplaced.
    if image.shape[:2] != tuple(-(-side // factor) for side in size):
        raise UserError(
            f"cannot read image {path}: its size or orientation is ambiguous; save it again"
        )
    return image


def decode_image(data: np.ndarray, name: PurePath, factor: int = 1) -> np.ndarray:
    """Decodes an image file that is in memory, see `read_image`.

    Args:
        data: The file, uint8 (n,).
        name: Its name, for error messages.
        factor: The image is returned at 1 / `factor` of its size: 1, 2, 4 or 8.

    Returns:
        uint8 (h, w, 3), RGB.

    Raises:
        UserError: The file is damaged, or not an image of a supported format.
    """
    try:
        if data[:2].tobytes() == b"\xff\xd8":  # JPEG: only its decoder is faster at a reduced size
            if count_scanned_pixels(data.tobytes()) > MAX_SCANNED_PIXELS:
                raise UserError(
                    f"cannot read image {name}: it has too many scans; save it again or remove it"
                )
            return _decode(data, factor, name)
        image = _decode(data, 1, name)
        if data[4:8].tobytes() == FILE_TYPE_BOX:  # AVIF's decoder does not apply the orientation
            image = _upright(image, read_header(data.tobytes(), name)[1])
    except cv2.error as error:
        raise UserError(f"cannot read image {name}: {error.err}; replace or remove it") from error
    return _reduced(image, factor) if factor > 1 else image


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """Averages squares of pixels. Only a strip is padded at once, so that there is no copy."""
    height, width = image.shape[:2]
    reduced = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    for top in range(0, height, STRIP):
        strip = image[top : top + STRIP]
        bottom = -len(strip) % factor
        strip = cv2.copyMakeBorder(strip, 0, bottom, 0, -width % factor, cv2.BORDER_REPLICATE)
        strip = cv2.resize(strip, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        reduced[top // factor :][: len(strip)] = strip
    return reduced


def _decode(data: np.ndarray, factor: int, path: PurePath) -> np.ndarray:
    if data[: len(SIGNATURE)].tobytes() == SIGNATURE:
        data = np.frombuffer(without_metadata(data.tobytes()) or b"", np.uint8)
    flags = {1: 0, 2: 16, 4: 32, 8: 64}[factor]  # cv2.IMREAD_REDUCED_* without their BGR bit
    image = cv2.imdecode(data, flags | cv2.IMREAD_COLOR_RGB) if data.size else None
    if image is None:
        raise UserError(_why_unreadable(path, data[:12].tobytes()))
    return image


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation to an image as stored."""
    if orientation in SWAPS_SIDES:
        image = image.transpose(1, 0, 2)
    if orientation in MIRRORS_X:
        image = image[:, ::-1]
    if orientation in MIRRORS_Y:
        image = image[::-1]
    return np.ascontiguousarray(image)
