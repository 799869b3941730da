"""The view of a dataset with its mistakes: the routes, and the page in a real browser."""

import json
from pathlib import Path
from types import SimpleNamespace
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest

from tests.browser import DESKTOP, PHONE
from tests.colour_finder import CLASSES, colour_network, picture
from tests.served import ask, running, until
from tests.vocset import add_image
from utils.serving.review import Review

RED, GREEN = CLASSES
BOX, LARGE, SMALL = (64, 32, 128, 96), (0, 0, 128, 128), (0, 96, 32, 128)
# Name, objects of the annotation, red pixels, and the mistake: IoU 0.25 is badly placed.
IMAGES = {
    "confused": ([(GREEN, BOX)], BOX),
    "false": ([], BOX),
    "missed": ([(RED, LARGE)], None),
    "placed": ([(RED, LARGE)], BOX),
    "right": ([(RED, BOX)], BOX),
    "small": ([(GREEN, SMALL)], None),
    "wide": ([], None),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A VOC folder with one image per mistake, and a damaged one."""
    data = tmp_path_factory.mktemp("data")
    for name, (objects, red) in IMAGES.items():
        size = (300, 1200) if name == "wide" else (128, 192)
        image = np.ascontiguousarray(picture(red, size=size)[..., ::-1])
        add_image(data, name, [(escape(label), box) for label, box in objects], image=image)
    path, _ = add_image(data, "zdamaged", size=(64, 64))
    path.write_bytes(path.read_bytes()[:3000])
    return data


@pytest.fixture(scope="module")
def served(data):
    with running(colour_network(), data=data) as served:
        yield served


@pytest.fixture
def page(browser, served):
    browser.console()
    browser.open(f"http://127.0.0.1:{served.port}/static/review.html")
    browser.wait_for("#status", "8 images of")
    browser.wait_for("#found", "5 images found")
    return browser


def names(page):
    return [each.removesuffix(".png") for each in page.texts("#images h2")]


def select(page, selector, value):
    page.find(f"{selector} option[value='{value}']").click()


def test_mistakes_are_sorted_by_their_size(page):
    # False and confused have their score, 0.9; placed 1 - IoU, 0.75; missed the root of their part
    # of the image, 0.82 and 0.2.
    assert names(page) == ["confused", "false", "missed", "placed", "small"]
    assert page.text("#status").endswith("2 missed, 1 false, 1 confused, 1 badly placed.")
    texts = page.texts("#images .mistakes")
    assert texts[0] == "confused: 红/red 0.90 is green & <b>"
    assert texts[3].startswith("badly placed 红/red 0.90, IoU 0.2")
    assert "zdamaged" in page.find("#faults").get_attribute("textContent")


def test_filters(page):
    for kind, expected in {
        "missed": ["missed", "small"],
        "placed": ["placed"],
        "all": ["confused", "false", "missed", "placed", "small", "right", "wide"],
    }.items():
        select(page, "#kind", kind)
        page.wait(lambda: names(page) == expected, kind)  # noqa: B023
    select(page, "#label", GREEN)
    page.wait(lambda: names(page) == ["confused", "small"], "class")


def test_ground_truth_is_beside_the_predictions(page):
    script = """
    return [...document.querySelectorAll("#images li.card")[3].querySelectorAll("figure")].map(
      (each) => [each.textContent, ...[...each.querySelectorAll("rect")].map((rect) =>
        [rect.getAttribute("class"), rect.getAttribute("x"), rect.getAttribute("width")].join())]);
    """
    assert page.run(script) == [
        ["Ground truth", "mark truth,0,128"],
        ["Predictions", "mark placed,64,64"],
    ]
    loaded = "return [...document.images].every((each) => each.naturalWidth === 192)"
    page.wait(lambda: page.run(loaded), "pictures")
    assert page.console() == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE, (360, 740)], ids=str)
def test_review_fits_the_width(page, size):
    page.resize(size)
    assert page.overflow() <= 0


def test_page_without_data_says_how_to_get_it(browser):
    with running(colour_network()) as served:
        browser.open(f"http://127.0.0.1:{served.port}/static/review.html")
        browser.wait_for("#status", "start serve.py with --data DIR")
    browser.console()


def get(served, path):
    status, _, body = ask(served.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return status, body


@pytest.fixture(scope="module")
def reviewed(served):
    """The service after its review, without a browser."""
    until(lambda: json.loads(get(served, "/review")[1])["state"] == "done")
    return served


def test_one_page_of_the_images(reviewed):
    status, body = get(reviewed, "/review/images?kind=any&limit=2&offset=4")
    document = json.loads(body)
    assert (status, document["total"]) == (200, 5)
    assert [each["source"] for each in document["images"]] == ["small.png"]
    assert get(reviewed, "/review/images?limit=61")[0] == 400
    assert get(reviewed, "/review/images?kind=wrong")[0] == 400


def test_thumbnails_are_small(reviewed):
    status, body = get(reviewed, f"/review/images/{sorted(IMAGES).index('wide')}")
    assert status == 200
    assert cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR).shape == (120, 480, 3)
    for index, expected in {"99": 404, "-1": 404, "x": 400, "..%2f..%2fetc": 404, "7": 404}.items():
        assert get(reviewed, f"/review/images/{index}")[0] == expected, index


def first_thumbnail(served, etag='"none"'):
    lines = ["GET /review/images/0 HTTP/1.1", "Host: localhost", f"If-None-Match: {etag}", "", ""]
    return ask(served.port, "\r\n".join(lines).encode())


def test_thumbnails_are_not_those_of_an_earlier_service(served, tmp_path):
    until(lambda: first_thumbnail(served)[0] == 200)
    _, headers, image = first_thumbnail(served)
    assert headers["cache-control"] == "private, no-cache"
    assert first_thumbnail(served, headers["etag"])[::2] == (304, b"")
    add_image(tmp_path, "other")
    with running(colour_network(), data=tmp_path) as later:
        until(lambda: first_thumbnail(later)[0] == 200)
        status, _, other = first_thumbnail(later, headers["etag"])
    assert status == 200 and other != image


@pytest.mark.parametrize(("busy_for", "waits"), [(0, 0), (3, 3), (1000, 50)])
def test_images_wait_for_requests_but_not_longer_than_a_second(busy_for, waits):
    class Busy:
        looks = 0

        @property
        def is_idle(self):
            self.looks += 1
            return self.looks > busy_for

    review = Review(Busy(), Path("data"))
    seconds = []
    review._pause = SimpleNamespace(wait=seconds.append)
    review._wait_for_idle()
    assert len(seconds) == waits and sum(seconds) <= 1.001
