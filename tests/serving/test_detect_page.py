"""The view at /, in a real browser."""

import base64
import json
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.browser import DESKTOP, PHONE
from tests.colour_finder import CLASSES, colour_network, picture, save
from tests.served import running
from utils.data.objects import usable_objects
from utils.data.orientation import ImageLayout
from utils.data.vocxml import read_annotation
from utils.inference.draw import class_colour

RED, GREEN = (64, 32, 128, 96), (8, 8, 40, 40)
SLIDE = """
const slider = document.getElementById("conf");
slider.value = arguments[0];
slider.dispatchEvent(new Event("input", { bubbles: true }));
"""
HAND_OVER = """
const [name, data, kind] = arguments;
const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], name, { type: "image/png" }));
const event = kind === "paste"
  ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
  : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
document.body.dispatchEvent(event);
"""


@pytest.fixture(scope="module")
def module(browser, tmp_path_factory):
    """One service for all tests, and the files that they upload."""
    folder = tmp_path_factory.mktemp("uploads")
    text = folder / "notes.txt"
    text.write_text("not an image")
    files = SimpleNamespace(
        both=save(folder / "a & <i>b.png", picture(RED, GREEN)),
        other=save(folder / "red.jpg", picture((0, 64, 64, 128))),
        text=text,
    )
    with running(colour_network()) as served:
        yield SimpleNamespace(files=files, served=served)


@pytest.fixture
def page(browser, module):
    """The page, just loaded."""
    browser.console()
    browser.open(f"http://127.0.0.1:{module.served.port}/")
    browser.wait_for("#model dd", "mobilenetv1")
    return browser


@pytest.fixture
def files(module):
    return module.files


@pytest.fixture
def requests(module):
    """Returns a function that counts the requests of /predict."""

    def count():
        text = module.served.service.metrics.text().decode()
        return sum(
            float(each) for each in re.findall(r'requests_total\{path="/predict".*\} (.*)', text)
        )

    return count


def upload(page, *paths, select="#files"):
    """Chooses files and waits for the result of the last one."""
    page.find(select).send_keys("\n".join(map(str, paths)))
    page.wait_for("#status", f"{paths[-1].name}: ")


def boxes(page):
    """Left, top, width and height of the drawn boxes, best last."""
    script = """
    return [...document.querySelectorAll("#stage .box")].map((each) =>
      ["x", "y", "width", "height"].map((name) => Number(each.getAttribute(name))));
    """
    return page.run(script)


def test_upload_draws_boxes_and_lists_them(page, files):
    upload(page, files.both)
    assert page.text("#status") == "a & <i>b.png: 1 object shown."
    assert page.texts("#detections tbody tr") == ["红/red 0.90 64, 32, 128, 96"]
    assert boxes(page) == [[64, 32, 64, 64]]
    # The box lies on the red pixels of the picture on the screen.
    image, box = page.find("#stage img").rect, page.find("#stage .box").rect
    scale = image["width"] / 192
    assert box["x"] - image["x"] == pytest.approx(64 * scale, abs=3)
    assert box["y"] - image["y"] == pytest.approx(32 * scale, abs=3)
    assert page.console() == []


def test_colours_are_those_of_predict(page, files):
    upload(page, files.both)
    page.run(SLIDE, 0.1)
    strokes = [each.value_of_css_property("stroke") for each in page.all("#stage .box")]
    assert strokes == [f"rgb{class_colour(label)}" for label in (1, 0)]


def test_slider_needs_no_request(page, files, requests):
    upload(page, files.both)
    before = requests()
    assert "At least 0.05" in page.text("#conf-note")
    assert page.find("#conf").get_attribute("min") == "0.05"
    counts = []
    for conf in (0.05, 0.3, 0.31, 0.9, 0.91):
        page.run(SLIDE, conf)
        counts.append((len(boxes(page)), len(page.all("#detections tbody tr"))))
    assert counts == [(2, 2), (2, 2), (1, 1), (1, 1), (0, 0)]
    assert page.find("#nothing").is_displayed()
    assert requests() == before


def test_class_filter(page, files):
    upload(page, files.both)
    page.run(SLIDE, 0.1)
    assert page.texts("#classes label") == ["green & <b>\n1", "红/red\n1"]
    page.find("#classes input[value='红/red']").click()
    assert page.texts("#detections th[scope=row]") == ["green & <b>"]
    page.find("#no-classes").click()
    assert boxes(page) == []
    page.find("#all-classes").click()
    assert len(boxes(page)) == 2


def test_rows_and_boxes_highlight_each_other(page, files):
    from selenium.webdriver import ActionChains

    upload(page, files.both)
    page.run(SLIDE, 0.1)
    first, second = page.all("#detections tbody tr")
    ActionChains(page.driver, duration=0).move_to_element(second).perform()
    assert len(page.all(".pointed .box.on")) == 1
    assert page.find(".box.on").get_attribute("x") == "8"
    ActionChains(page.driver, duration=0).move_to_element(page.all("#stage .box")[1]).perform()
    assert "on" in first.get_attribute("class")


def test_keyboard_alone(page, files):
    from selenium.webdriver.common.keys import Keys

    upload(page, files.both)
    page.run("document.body.tabIndex = -1; document.body.focus()")
    reached = []
    for _ in range(20):
        page.press(Keys.TAB)
        active = page.driver.switch_to.active_element
        reached.append(active.get_attribute("id") or active.tag_name)
        if reached[-1] == "conf":
            page.press(*[Keys.ARROW_LEFT] * 25)  # steps of 0.01
        if reached[-1] == "tr":
            break
    for control in ("files", "camera", "save-json", "save-picture", "save-xml", "conf", "tr"):
        assert control in reached
    assert page.text("#conf-text") == "0.25"
    assert page.find(".box.on").get_attribute("x") == "64"
    page.press(Keys.ARROW_DOWN)
    assert page.find(".box.on").get_attribute("x") == "8"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.run(outline) == "solid"


def test_controls_have_names(page, files):
    upload(page, files.both, files.other)
    for each in page.all("button, input, nav, section, table, img"):
        if each.is_displayed():
            assert each.accessible_name or each.tag_name == "table", each.get_attribute("outerHTML")
    assert page.find("#status").aria_role == "status"
    assert page.find("#errors").aria_role == "alert"
    assert page.find("html").get_attribute("lang") == "en"


def test_several_pictures(page, files):
    upload(page, files.both, files.other)
    assert boxes(page) == [[0, 64, 64, 64]]
    page.all("#strip button")[0].click()
    assert boxes(page) == [[64, 32, 64, 64]]
    page.find("#remove").click()
    assert page.text("#status") == "red.jpg: 1 object shown."


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_paste_and_drop(page, files, kind):
    data = base64.b64encode(files.both.read_bytes()).decode()
    page.run(HAND_OVER, f"{kind}.png", data, kind)
    page.wait_for("#status", f"{kind}.png: 1 object shown")


def test_wrong_file_is_explained_and_others_go_on(page, files):
    page.find("#files").send_keys(f"{files.text}\n{files.both}")
    page.wait_for("#errors .message", "notes.txt")
    assert "image" in page.text("#errors p")
    page.wait_for("#status", "1 object shown")
    page.all("#errors button")[1].click()
    assert page.text("#errors") == ""


def test_picture_above_the_limit_is_not_sent(page, files, requests, tmp_path):
    large = tmp_path / "large.png"
    large.write_bytes(b"\0" * (33 * 2**20))
    before = requests()
    page.find("#files").send_keys(str(large))
    page.wait_for("#errors .message", "33.0 MiB, more than the 32 MiB")
    assert requests() == before


def test_downloads(page, files):
    upload(page, files.both)
    page.run(SLIDE, 0.1)
    for name in ("json", "xml", "picture"):
        page.find(f"#save-{name}").click()
    # Chromium replaces what file names cannot have.
    (document,) = json.loads(page.downloaded("a & _i_b.json").read_text("utf-8"))
    assert document["source"] == "a & <i>b.png"
    assert (document["width"], document["height"]) == (192, 128)
    assert document["detections"] == [
        {"label": CLASSES[0], "score": 0.9, "box": [64, 32, 128, 96]},
        {"label": CLASSES[1], "score": 0.3, "box": [8, 8, 40, 40]},
    ]
    xml = page.downloaded("a & _i_b.xml")
    labels = {name: label for label, name in enumerate(CLASSES)}
    layout = ImageLayout(128, 192, 1)
    objects, faults = usable_objects(read_annotation(xml), xml, labels, layout)
    assert [(each.box, each.label) for each in objects] == [
        ([64, 32, 128, 96], 0),
        ([8, 8, 40, 40], 1),
    ]
    assert not faults
    image = cv2.imread(str(page.downloaded("a & _i_b-detections.jpg")))
    assert image.shape == (128, 192, 3)
    assert np.abs(image[64, 96].astype(int) - (0, 0, 255)).max() < 40  # inside the red box


@pytest.mark.parametrize("size", [DESKTOP, PHONE, (360, 740)], ids=str)
def test_no_horizontal_scrolling(page, files, size):
    page.resize(size)
    upload(page, files.both, files.other)
    page.find("#files").send_keys(str(files.text))
    page.wait_for("#errors .message")
    assert page.overflow() <= 0


def test_service_that_is_full_and_then_gone(page, files, module):
    with running(colour_network()) as other:
        page.open(f"http://127.0.0.1:{other.port}/")
        page.wait_for("#model dd", "mobilenetv1")
        upload(page, files.other)
        other.service.stopping = True
        page.find("#files").send_keys(str(files.both))
        page.wait_for("#errors .message", "The service stops, try again later (in 1 s)")
        other.service.stopping = False
        page.find("#errors button").click()
        page.wait_for("#status", "b.png: 1 object shown")
    page.find("#files").send_keys(str(files.both))
    page.wait_for("#errors .message", "The service does not answer")
    assert len(boxes(page)) == 1  # earlier results stay
