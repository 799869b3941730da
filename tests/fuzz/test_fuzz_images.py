"""Images of every format."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.fuzzing import damaged, judge
from utils.data.images import count_pictures, read_image, read_image_header
from utils.data.png import without_metadata

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)
OPAQUE = np.dstack([PIXELS, PIXELS[..., :1]])


def encoded(suffix, pixels=PIXELS, *options):
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def by_pillow(kind, mode="RGB", **options):
    """Encodes with Pillow, which writes what OpenCV does not, such as EXIF and palettes."""
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).convert(mode).save(stream, kind, exif=exif, **options)
    return stream.getvalue()


FORMATS = {
    ".jpg": [
        encoded(".jpg"),
        encoded(".jpg", PIXELS, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        by_pillow("JPEG"),
        by_pillow("JPEG", "CMYK"),
        by_pillow("JPEG", "L"),
    ],
    ".png": [
        encoded(".png"),
        encoded(".png", np.uint16(PIXELS) * 257),
        by_pillow("PNG"),
        by_pillow("PNG", "P"),
        by_pillow("PNG", "1"),
    ],
    ".bmp": [
        encoded(".bmp"),
        encoded(".bmp", PIXELS[..., 0]),
        encoded(".bmp", OPAQUE),
    ],
    ".webp": [encoded(".webp"), by_pillow("WEBP"), by_pillow("WEBP", lossless=True)],
    ".tif": [encoded(".tif"), by_pillow("TIFF"), by_pillow("TIFF", "P", compression="tiff_lzw")],
    ".gif": [by_pillow("GIF", save_all=True, append_images=[Image.new("RGB", (31, 20))])],
    ".avif": [encoded(".avif", cv2.resize(PIXELS, (32, 32))), by_pillow("AVIF")],
    ".jp2": [by_pillow("JPEG2000")],
    ".ppm": [encoded(".ppm"), encoded(".pgm", PIXELS[..., 0]), by_pillow("PPM", "1")],
    ".ras": [encoded(".ras")],
}
WORDS = [b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xe1", b"Exif\0\0"]
WORDS += [b"IHDR", b"IDAT", b"IEND", b"eXIf", b"acTL", b"RIFF", b"VP8 ", b"VP8X", b"ANIM", b"BM"]
WORDS += [b"II*\0", b"MM\0*", b"\x01\x12", b"\x12\x01", b"ispe", b"irot", b"P6 ", b"9" * 20]


def check_image(path):
    """Reads the header, then the image at all sizes, as the training does."""
    header = judge(read_image_header, path)
    judge(count_pictures, path)
    if header is None:
        assert judge(read_image, path) is None
        return
    (height, width), orientation = header
    assert height > 0 and width > 0 and orientation is not None
    for factor in (1, 4):
        needed = height // factor, width // factor
        image = judge(read_image, path, needed, (height, width))
        if image is None:
            return
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert image.flags.c_contiguous
        if min(needed):
            scale = height / image.shape[0], width / image.shape[1]
            assert max(scale) < 9
            reduced = next(each for each in (1, 2, 4, 8) if -(-height // each) == image.shape[0])
            assert image.shape[1] == -(-width // reduced)


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_images(fuzz, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    others = [files[0] for files in FORMATS.values()]

    def check(data):
        path.write_bytes(data)
        check_image(path)

    fuzz(check, data=damaged(FORMATS[suffix] * 3 + others, WORDS))


def test_damaged_png_chunks(fuzz):
    def check(data):
        kept = judge(without_metadata, data)
        assert kept is None or (kept[:8] == data[:8] and kept.count(b"IEND"))

    files = FORMATS[".png"]
    fuzz(check, data=damaged(files, WORDS).filter(lambda data: data[:8] == files[0][:8]))
