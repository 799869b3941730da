"""Letterbox and suppression in JavaScript, against those in Python."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.static_server import serving
from utils.data.images import read_image
from utils.data.letterbox import Letterbox
from utils.inference.predictor import in_original
from utils.inference.suppression import suppress
from utils.inference.thresholds import Thresholds
from utils.page.views import browser_files

EXIF_ORIENTATION = 0x0112
CANVAS = """
const [data, input, stretch, done] = arguments;
(async () => {
  const { decode } = await import("./static/pixels.js");
  const { fit, place } = await import("./static/letterbox.js");
  const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
  const picture = await decode(new Blob([bytes]));
  const fitted = fit(picture.size, input, stretch);
  const canvas = Uint8Array.from(place(picture.row, fitted, input, 128));
  let text = "";
  for (const byte of canvas) text += String.fromCharCode(byte);
  done([picture.size, btoa(text)]);
})().catch((error) => done(String(error)));
"""
DETECTIONS = """
const [boxes, scores, input, original, thresholds, done] = arguments;
(async () => {
  const { fit, inverse } = await import("./static/letterbox.js");
  const { suppress } = await import("./static/suppression.js");
  const fitted = fit(original, input, false);
  const kept = suppress(Float32Array.from(boxes), Float32Array.from(scores), input, thresholds);
  done(kept.map((each) => ({ ...each, box: inverse(each.box, fitted) })).filter(({ box }) => box));
})().catch((error) => done(String(error)));
"""


@pytest.fixture(scope="module")
def ask(browser, tmp_path_factory):
    """Runs a script with the modules of the page."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "static").mkdir()
    for path, data in browser_files("default-src 'self'").items():
        (folder / path).write_bytes(data)
    (folder / "index.html").write_text("<!doctype html><title>modules</title>")
    with serving(folder) as server:
        browser.open(server.url)
        yield browser.driver.execute_async_script


def noise(size):
    """A smooth RGB image with noise, (height, width, 3) uint8."""
    random = np.random.default_rng(1)
    ramp = np.add.outer(np.linspace(0, 120, size[0]), np.linspace(0, 80, size[1]))[..., None]
    return np.uint8(ramp + random.integers(0, 56, (*size, 3)))


def encoded(image, form="PNG", orientation=1):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, exif=exif, quality=90)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "stretch", "most"),
    [
        ((100, 150), False, 0.001),  # to two thirds
        ((128, 192), False, 0.001),  # to half, where OpenCV rounds in another way
        ((600, 301), False, 0.001),  # read in several strips
        ((64, 96), False, 0.001),  # as it is
        ((1, 500), False, 0.001),
        ((300, 211), True, 0.001),
        # If a side grows, OpenCV computes in fixed point and rounds some values differently.
        ((23, 31), False, 0.1),
        ((40, 300), True, 0.1),
    ],
)
def test_letterbox_is_that_of_opencv(ask, tmp_path, size, stretch, most):
    data = encoded(noise(size))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    found_size, text = ask(CANVAS, base64.b64encode(data).decode(), [64, 96], stretch)
    assert found_size == [size[1], size[0]]
    found = np.frombuffer(base64.b64decode(text), np.uint8).reshape(64, 96, 3)
    expected = Letterbox.fit(size, (64, 96), stretch).apply(read_image(path))
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() < most


def test_photo_is_decoded_and_turned_like_by_opencv(ask, tmp_path):
    data = encoded(noise((90, 140)), "JPEG", orientation=6)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    found_size, text = ask(CANVAS, base64.b64encode(data).decode(), [64, 96], False)
    assert found_size == [90, 140]
    found = np.frombuffer(base64.b64decode(text), np.uint8).reshape(64, 96, 3)
    expected = Letterbox.fit((140, 90), (64, 96)).apply(read_image(path))
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("most", [5, 300])
def test_suppression_is_that_of_python(ask, most):
    random = np.random.default_rng(2)
    centres = random.uniform(-0.1, 1.1, (200, 2))
    sides = random.uniform(0.0, 0.4, (200, 2))
    boxes = np.float32(np.concatenate([centres - sides / 2, centres + sides / 2], axis=1))
    scores = np.float32(random.integers(0, 12, (200, 3)) / 16)  # with ties
    thresholds = Thresholds(0.25, 0.3, most)
    words = {"confidence": 0.25, "iou": 0.3, "maxBoxes": most}
    arguments = boxes.ravel().tolist(), scores.ravel().tolist(), [64, 96], [210, 120], words
    found = ask(DETECTIONS, *arguments)
    pixels = boxes * np.float32([96, 64, 96, 64])
    expected = in_original(
        Letterbox.fit((120, 210), (64, 96)), suppress(pixels, scores, thresholds)
    )
    assert 0 < len(expected) < 300
    assert [each["label"] for each in found] == expected.labels.tolist()
    assert [each["score"] for each in found] == expected.scores.tolist()
    assert [each["box"] for each in found] == expected.boxes.tolist()


def test_file_that_is_no_picture_is_explained(ask):
    answer = ask(CANVAS, base64.b64encode(b"not a picture").decode(), [64, 96], False)
    assert answer.startswith("Error: This browser cannot read it")
