"""Compares image reading with Pillow, which shares no code with OpenCV's readers."""

import errno
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from utils.data.encoding import write_image
from utils.data.images import read_image, read_image_size, reduction
from utils.errors import UserError


def gradient(height=51, width=70):
    """Smooth colours that differ in every corner, so that any rotation or swap is detected."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], -1).astype("u1")


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "PNG", {}),
        ("L", "PNG", {}),
        ("LA", "PNG", {}),
        ("1", "PNG", {}),
        ("P", "PNG", {}),
        ("P", "PNG", {"transparency": 3}),
        ("RGBA", "PNG", {}),
        ("RGB", "JPEG", {"quality": 95}),
        ("L", "JPEG", {"quality": 95}),
        ("CMYK", "JPEG", {"quality": 95}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "BMP", {}),
        ("P", "BMP", {}),
        ("RGB", "WEBP", {"lossless": True}),
        ("RGBA", "WEBP", {"lossless": True}),
    ],
)
def test_every_format_is_read_as_pillow_reads_it(tmp_path, mode, kind, options):
    path = tmp_path / f"image.{kind.lower()}"
    path.write_bytes(encode(Image.fromarray(gradient()).convert(mode), kind, **options))
    expected = np.asarray(Image.open(path).convert("RGB"))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (51, 70, 3)
    assert read_image_size(path) == (51, 70)
    np.testing.assert_allclose(image, expected, atol=2)  # CMYK and JPEG round differently


def test_16_bit_is_scaled_to_8(tmp_path):
    grey = (np.arange(256 * 4) * 64).astype(np.uint16).reshape(16, 64)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.stack([grey >> 8] * 3, -1))
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], -1)
    (tmp_path / "colour.png").write_bytes(cv2.imencode(".png", colour[..., ::-1])[1])
    np.testing.assert_array_equal(read_image(tmp_path / "colour.png"), colour >> 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image"
    path.write_bytes(encode(Image.fromarray(gradient()), kind, exif=exif, quality=95))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    assert read_image_size(path) == expected.shape[:2]
    np.testing.assert_allclose(read_image(path), expected, atol=3)
    halved = read_image(path, (20, 20))
    assert halved.shape == (-(-expected.shape[0] // 2), -(-expected.shape[1] // 2), 3)


@pytest.mark.parametrize("name", ["浣熊 1.PNG", "енот.png", "ζώο é (2).png", "راكون.png"])
def test_file_names_in_any_script(tmp_path, name):
    Image.fromarray(gradient()).save(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name), gradient())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 0.95])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, kind, fraction):
    data = encode(Image.fromarray(gradient(300, 400)), kind)
    path = tmp_path / "broken.jpg"
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(UserError, match=r"broken\.jpg"):
        read_image(path, (1, 1), (300, 400))


def test_a_file_that_is_not_an_image_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "page.jpg"
    path.write_text("<html>not found</html>")
    with pytest.raises(UserError, match=r"page\.jpg"):
        read_image(path)
    with pytest.raises(UserError, match=r"page\.jpg"):
        read_image_size(path)


def test_damaged_exif_is_ignored(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(encode(Image.fromarray(gradient()), "JPEG", exif=b"Exif\0\0nonsense"))
    assert read_image_size(path) == read_image(path).shape[:2] == (51, 70)


@pytest.mark.parametrize(
    ("size", "min_size", "factor"),
    [
        ((100, 100), (100, 100), 1),
        ((100, 100), (51, 20), 1),
        ((100, 100), (50, 50), 2),
        ((100, 400), (25, 25), 4),
        ((5000, 5000), (10, 10), 8),
        ((100, 100), (0, 0), 8),
    ],
)
def test_reduction_keeps_the_minimum_size(size, min_size, factor):
    assert reduction(size, min_size) == factor


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_reduced_image_averages_its_pixels(tmp_path, kind, factor):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 11, 3), np.uint8)
    size = (9 * factor - 1, 11 * factor - 1)  # the last row and column are incomplete
    image = coarse.repeat(factor, 0).repeat(factor, 1)[: size[0], : size[1]]
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    path = tmp_path / "image"
    path.write_bytes(encode(Image.fromarray(image), kind, **options.get(kind, {})))
    reduced = read_image(path, (8, 10))
    assert reduced.shape == (9, 11, 3)
    # The last row of a JPEG also contains the padding of its blocks.
    np.testing.assert_allclose(reduced[:-1, :-1], coarse[:-1, :-1], atol=5)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_a_written_image_is_read_back(tmp_path, suffix):
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (48, 1)), np.tile(ramp[:48, None], (1, 64))] * 2, -1)[..., :3]
    path = tmp_path / f"图{suffix}"
    write_image(path, image)
    tolerance = 6 if suffix == ".jpg" else 0
    np.testing.assert_allclose(read_image(path).astype(int), image, atol=tolerance)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_image_and_is_reported(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_image(path, np.zeros((4, 4, 3), np.uint8))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
