"""The camera of the page, in a real browser with a camera that is not real."""

import pytest

from tests.colour_finder import colour_network
from tests.served import running

COUNT_CALLS = """
const devices = navigator.mediaDevices;
const ask = devices.getUserMedia.bind(devices);
window.asked = 0;
devices.getUserMedia = (wanted) => {
  window.asked += 1;
  return ask(wanted);
};
"""
CLICK_TWICE = "for (let i = 0; i < 2; i++) document.getElementById('camera').click()"
CLOSE_EARLY = """
window.unhandled = 0;
addEventListener("unhandledrejection", () => (window.unhandled += 1));
document.getElementById("camera-video").play = async () => {
  window.played = true;
  document.getElementById("camera-dialog").close();
  throw new DOMException("closed", "AbortError");
};
"""
STREAM = "document.getElementById('camera-video').srcObject"


@pytest.fixture
def page(browser):
    with running(colour_network()) as served:
        browser.open(f"http://127.0.0.1:{served.port}/")
        browser.wait_for("#model dd", "mobilenetv1")
        yield browser


def test_camera(page):
    page.find("#camera").click()
    ready = "return document.getElementById('camera-video').videoWidth > 0"
    page.wait(lambda: page.run(ready), "the camera gives no picture")
    page.find("#shoot").click()
    page.wait_for("#status", "camera-")
    page.wait_for("#status", "shown")
    assert not page.find("#camera-dialog").is_displayed()
    assert page.run(f"return {STREAM}") is None


def test_camera_is_asked_for_once_at_a_time(page):
    page.run(COUNT_CALLS)
    page.run(CLICK_TWICE)
    assert page.run("return asked") == 1
    page.wait_for("#camera-close")
    page.find("#camera-close").click()
    page.find("#camera").click()
    page.wait_for("#camera-close")
    assert page.run("return asked") == 2


def test_camera_that_is_closed_early_is_no_error(page):
    page.run(CLOSE_EARLY)
    page.find("#camera").click()
    page.wait(lambda: page.run(f"return window.played && !{STREAM}"), "the camera is not closed")
    assert page.run("return unhandled") == 0
