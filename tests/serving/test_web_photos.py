"""Detections of ONNX Runtime Web in a real browser, against those of predict.py, on ten photos."""

import shutil

import numpy as np
import pytest

from tests.conftest import SHARED_DATA
from tests.exported import make_run
from tests.static_server import serving
from utils.data.encoding import write_image
from utils.data.images import read_image
from utils.errors import UserError
from utils.export.formats import ExportSettings
from utils.export.job import describe, export_float
from utils.export.web import export_web
from utils.export.web_runtime import INTEGRITY, URL
from utils.inference.detections import to_json
from utils.inference.thresholds import Thresholds
from utils.weights.downloads import fetch_package

pytestmark = pytest.mark.slow

COUNT = 10
# Nothing is suppressed: in an untrained network, thousands of boxes have nearly the same score, and
# their order decides which ones are kept.
THRESHOLDS = Thresholds(0.5, 1.0, 10_000)
DETECT = """
const [names, conf, most, done] = arguments;
(async () => {
  const { detect } = await import("./static/detector.js");
  const found = [];
  for (const name of names) {
    const photo = await (await fetch(new URL(`../photos/${name}`, location))).blob();
    found.push(await detect(new File([photo], name), conf, most));
  }
  done(found);
})().catch((error) => done(String(error)));
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten photos of raccoons of different sizes, or drawings where there are none."""
    folder = tmp_path_factory.mktemp("web") / "photos"
    folder.mkdir()
    real = sorted(SHARED_DATA.glob("raccoon/VOC2007/JPEGImages/*.jpg"))[:COUNT]
    for path in real:
        shutil.copyfile(path, folder / path.name)
    random = np.random.default_rng(4)
    for index in range(COUNT - len(real)):
        height, width = random.integers(100, 900, 2)
        image = random.integers(0, 60, (height, width, 3), np.uint8)
        for _ in range(12):
            top, left = random.integers(0, height), random.integers(0, width)
            image[top : top + height // 3, left : left + width // 3] += np.uint8(
                random.integers(150)
            )
        write_image(folder / f"drawn-{index}.jpg", image)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("web_run") / "run", size=(192, 256))


@pytest.fixture(scope="module")
def expected(run, photos):
    """What predict.py prints."""
    predictor = run.predictor(THRESHOLDS, 1)
    images = [read_image(path) for path in photos]
    return [
        to_json(path.name, image.shape[:2], found, run.classes)
        for path, image, found in zip(photos, images, predictor(images), strict=True)
    ]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_boxes_are_within_a_pixel_of_those_of_predict(browser, run, photos, expected, precision):
    try:
        fetch_package(URL, INTEGRITY)
    except UserError as error:
        pytest.skip(str(error))
    settings = ExportSettings("web", precision, 1)
    metadata = describe(run, settings, THRESHOLDS)
    folder = photos[0].parents[1] / precision
    export_web(
        settings,
        metadata,
        folder,
        lambda settings, path: export_float(run, settings, metadata, path),
    )
    with serving(folder.parent) as server:
        browser.open(f"{server.url}/{precision}/")
        browser.wait_for("#model dd", "mobilenetv1")
        names = [path.name for path in photos]
        limits = THRESHOLDS.confidence, THRESHOLDS.max_boxes
        found = browser.driver.execute_async_script(DETECT, names, *limits)
        assert [each for each in browser.console() if "No available adapters" not in each] == []
    assert sum(len(each["detections"]) for each in expected) > COUNT
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours["width"], ours["height"]) == (theirs["width"], theirs["height"])
        # Scores of float16 differ by some thousandths, so detections near the threshold may be
        # in one of the two only.
        assert_same(ours["detections"], theirs["detections"], theirs["source"])
        assert_same(theirs["detections"], ours["detections"], theirs["source"])


def assert_same(ones, others, name):
    """Asserts that each detection is also among the others."""
    labels = np.array([other["label"] for other in others])
    boxes = np.array([other["box"] for other in others]).reshape(-1, 4)
    scores = np.array([other["score"] for other in others])
    for one in ones:
        same = (labels == one["label"]) & (np.abs(scores - one["score"]) < 0.01)
        same &= (np.abs(boxes - one["box"]) < 1).all(axis=1)
        assert same.any() or one["score"] < THRESHOLDS.confidence + 0.01, f"{one} of {name}"
