"""Which files are read as images, and which are refused before anything is decoded."""

import os
import socket
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.vocset import add_image
from utils.data.annotation import read_samples
from utils.data.datacheck import decode_all
from utils.data.images import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    count_pictures,
    read_image,
    read_image_header,
    read_image_size,
)
from utils.data.imagesets import ImageRef, image_files
from utils.errors import UserError

PILLOW_FORMATS = {".jfif": "JPEG", ".jpe": "JPEG", ".apng": "PNG"}


def gradient(height=24, width=32):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 8, y * 8, 248 - x * 8], -1).astype(np.uint8)


def save(path, suffix):
    image = gradient()
    if suffix in (".ras", ".sr"):  # Pillow does not write these
        path.write_bytes(cv2.imencode(suffix, image[..., ::-1])[1])
        return image
    if suffix in (".pgm", ".pbm"):
        image[:] = 255 * (image[..., :1] > 100)
    mode = {".pgm": "L", ".pbm": "1"}.get(suffix, "RGB")
    options = {"quality": 95} if suffix in (".jpg", ".avif") else {}
    Image.fromarray(image).convert(mode).save(path, PILLOW_FORMATS.get(suffix), **options)
    return image


def png_of(height, width):
    """A PNG whose header states this size; its pixels are missing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_listed_format_is_read(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    expected = save(path, suffix)
    assert read_image_size(path) == (24, 32)
    difference = np.abs(read_image(path).astype(int) - expected)
    assert difference.mean() < 8  # a GIF has 256 colours


def test_every_listed_format_may_be_in_a_voc_folder(tmp_path):
    folder = tmp_path / "JPEGImages"
    folder.mkdir()
    for suffix in IMAGE_SUFFIXES:
        save(folder / f"{suffix[1:]}{suffix.upper()}", suffix)
    assert len(image_files(tmp_path)) == len(IMAGE_SUFFIXES)


@pytest.mark.parametrize("suffix", [".avif", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_in_the_header(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image{suffix}"
    options = {"quality": 95} if suffix == ".avif" else {}
    Image.fromarray(gradient()).save(path, exif=exif, **options)
    stored = ImageOps.exif_transpose(Image.open(path)) if suffix == ".avif" else Image.open(path)
    expected = np.asarray(stored.convert("RGB"))
    assert read_image_header(path) == (expected.shape[:2], orientation)
    np.testing.assert_allclose(read_image(path).astype(int), expected, atol=8)
    assert read_image(path, (10, 10), expected.shape[:2]).shape == (
        *(side // 2 for side in expected.shape[:2]),
        3,
    )


@pytest.mark.parametrize(
    ("name", "start", "words"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not supported, convert it"),
        ("a.jpg", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC is not supported, convert it"),
        ("a.psd", b"8BPS\0\1", r"\.psd is not supported, convert it to JPEG or PNG"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "damaged, truncated or not an image"),
    ],
)
def test_error_says_whether_a_format_is_unsupported_or_a_file_damaged(tmp_path, name, start, words):
    path = tmp_path / name
    path.write_bytes(start)
    for read in (read_image, read_image_size):
        with pytest.raises(UserError, match=rf"{name}.*{words}"):
            read(path)


def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)
    path = tmp_path / "huge.png"
    path.write_bytes(png_of(30_000, 30_000))
    with pytest.raises(UserError, match=r"huge\.png: 30000x30000 is more than 178,956,970 pixels"):
        read_image(path)
    with pytest.raises(UserError, match=r"huge\.png"):
        read_image(path, (416, 416), (30_000, 30_000))
    path.write_bytes(png_of(MAX_PIXELS, 1))
    assert read_image_size(path) == (MAX_PIXELS, 1)
    path.write_bytes(png_of(MAX_PIXELS + 1, 1))
    with pytest.raises(UserError, match="reduce it or cut it"):
        read_image_size(path)


def test_number_of_pictures_in_a_file(tmp_path):
    first, *rest = (Image.fromarray(gradient()[:, :: 1 - 2 * (i % 2)]) for i in range(3))
    for name in ("a.tif", "a.gif", "a.webp", "a.png", "a.mpo"):
        first.save(tmp_path / name, save_all=True, append_images=rest)
    first.save(tmp_path / "one.tif")
    names = ("a.tif", "a.gif", "a.webp", "a.png", "a.mpo", "one.tif")
    assert [count_pictures(tmp_path / name) for name in names] == [3, 3, 3, 3, 1, 1]


def test_a_later_page_of_a_tiff_file_without_a_width_is_damage(tmp_path):
    path = tmp_path / "pages.tif"
    page = Image.new("RGB", (31, 20))
    page.save(path, save_all=True, append_images=[page])
    width = struct.pack("<HHII", 256, 4, 1, 31)  # tag, type, count, value
    first, second, rest = path.read_bytes().split(width)
    path.write_bytes(width.join([first, second]) + struct.pack("<HHII", 65000, 4, 1, 31) + rest)
    with pytest.raises(UserError, match=r"pages\.tif: damaged"):
        count_pictures(path)


@pytest.fixture
def special(tmp_path, monkeypatch):
    """Paths that are not regular files. Opening the pipe would wait without end."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.jpg")
    Path("folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        yield {"named pipe": "pipe.jpg", "folder": "folder.jpg", "socket": "socket.jpg"}


@pytest.mark.skipif(os.name != "posix", reason="named pipes and sockets in the file system")
@pytest.mark.parametrize("kind", ["named pipe", "folder", "socket", "device"])
def test_only_regular_files_are_opened(special, kind):
    path = Path(special.get(kind, "/dev/zero"))
    for arguments in ((path,), (path, (1, 1), (24, 32))):
        with pytest.raises(UserError, match=f"{path.name}: it is a {kind}"):
            read_image(*arguments)
    with pytest.raises(UserError, match=f"it is a {kind}"):
        read_image_size(path)


@pytest.mark.skipif(os.name != "posix", reason="named pipes in the file system")
def test_faults_of_a_voc_folder_are_left_out(tmp_path):
    paths = {name: add_image(tmp_path, name)[0] for name in ("good", "pipe", "huge", "later")}
    paths["pipe"].unlink()
    os.mkfifo(paths["pipe"])
    paths["huge"].write_bytes(png_of(30_000, 30_000))
    samples, faults = read_samples([ImageRef(tmp_path, name) for name in paths], [])
    assert [sample.image_id for sample in samples] == ["good", "later"]
    assert {fault.kind for fault in faults} == {"unreadable image"}
    assert [str(fault) for fault in faults] == [
        f"cannot read {paths['pipe']}: it is a named pipe, specify a regular file",
        f"cannot read image {paths['huge']}: 30000x30000 is more than 178,956,970 pixels; "
        "reduce it or cut it into tiles",
    ]
    paths["later"].unlink()
    os.mkfifo(paths["later"])
    decoded = decode_all(samples, "train")
    assert [sample.image_id for sample in decoded.samples] == ["good"]
    assert "named pipe" in decoded.faults[0].detail
