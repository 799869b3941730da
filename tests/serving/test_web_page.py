"""The page of `--format web` in a real browser, with a runtime that finds red boxes."""

import hashlib
import json
import os
import shutil
import time

import pytest

from tests.browser import PHONE
from tests.colour_finder import picture, save
from tests.static_server import serving
from tests.web_folder import write_folder
from utils.inference.thresholds import Thresholds

RED = (64, 32, 128, 96)
IS_KEPT = """
const [path, done] = arguments;
caches.match(path).then((found) => done(Boolean(found)));
"""
# How the installation of a newer service worker ends.
UPDATE = """
const [done] = arguments;
(async () => {
  const { installing } = await (await navigator.serviceWorker.getRegistration()).update();
  installing.onstatechange = () => {
    if (["redundant", "activated"].includes(installing.state)) done(installing.state);
  };
})().catch((error) => done(String(error)));
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A server with the page in a folder of it."""
    write_folder(tmp_path / "site" / "a b" / "detector_web", monkeypatch)
    with serving(tmp_path / "site") as server:
        server.page = f"{server.url}/a%20b/detector_web/"
        server.folder = tmp_path / "site" / "a b" / "detector_web"
        yield server


@pytest.fixture
def page(browser, site):
    browser.console()
    browser.open(site.page)
    browser.wait_for("#model dd", "mobilenetv1")
    return browser


@pytest.fixture
def photo(tmp_path):
    return save(tmp_path / "red.png", picture(RED))


def detect(page, photo):
    page.find("#files").send_keys(str(photo))
    page.wait_for("#status", f"{photo.name}: 1 object shown")
    return page.texts("#detections tbody tr")


def problems(page):
    """Messages of the console, but that this machine has no GPU."""
    return [each for each in page.console() if "No available adapters" not in each]


def date(seconds, *paths):
    """Dates files later: to the server, those of the same second are the same."""
    for path in paths:
        os.utime(path, (time.time() + seconds,) * 2)


def kept(page, path):
    """Whether the service worker keeps a file."""
    return page.driver.execute_async_script(IS_KEPT, path)


def test_page_detects_without_a_service(page, photo):
    assert detect(page, photo) == ["红/red 0.90 64, 32, 128, 96"]
    assert "ONNX Runtime Web" in page.text("#model")
    assert "WebAssembly" in page.text("#model")
    assert "Limits" not in page.text("#model")
    assert not page.all("nav")
    assert page.run("return self.crossOriginIsolated"), "threads need an isolated page"
    assert problems(page) == []


def test_page_works_offline_once_loaded(page, site, photo):
    assert "Offline\nyes" in page.text("#model")
    site.stop()
    page.open(site.page)
    page.wait_for("#model dd", "mobilenetv1")
    assert detect(page, photo) == ["红/red 0.90 64, 32, 128, 96"]
    assert problems(page) == []


def test_newer_version_is_offered(page, site, monkeypatch):
    assert page.find("#conf").get_attribute("value") == "0.5"
    page.wait(lambda: kept(page, "detector.onnx"), "the model is not kept")
    shutil.rmtree(site.folder)
    write_folder(site.folder, monkeypatch, thresholds=Thresholds(0.25))
    date(10, *site.folder.rglob("*"))
    page.open(site.page)
    page.wait_for("#errors .message", "There is a newer version of this page")
    page.find("#errors button").click()
    page.wait(lambda: page.find("#conf").get_attribute("value") == "0.25", "the page is not new")


def test_service_worker_has_the_digest_of_each_file(site):
    lines = (site.folder / "service_worker.js").read_text().splitlines()
    (line,) = [each for each in lines if each.startswith("const DIGESTS = ")]
    digests = json.loads(line.removeprefix("const DIGESTS = ").removesuffix(";"))
    assert digests.pop("./") == digests["index.html"]
    assert digests == {
        path.relative_to(site.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in site.folder.rglob("*")
        if path.is_file() and path.name != "service_worker.js"
    }


@pytest.mark.parametrize("name", ["detector.onnx", "model.json"])
def test_newer_version_waits_until_all_its_files_are_there(page, site, monkeypatch, name):
    page.wait(lambda: kept(page, "detector.onnx"), "the model is not kept")
    shutil.rmtree(site.folder)
    write_folder(site.folder, monkeypatch, thresholds=Thresholds(0.25))
    date(10, *site.folder.rglob("*"))
    newer = (site.folder / name).read_bytes()
    (site.folder / name).write_bytes(newer[:-1] + b"?")  # an older file is often as long
    date(20, site.folder / name)
    assert page.driver.execute_async_script(UPDATE) == "redundant"
    (site.folder / name).write_bytes(newer)
    date(30, site.folder / name)
    assert page.driver.execute_async_script(UPDATE) == "activated"
    page.open(site.page)
    page.wait(lambda: page.find("#conf").get_attribute("value") == "0.25", "the page is not new")


def test_model_of_another_export_is_explained_and_not_kept(browser, site):
    (site.folder / "detector.onnx").write_bytes(b"a modem")
    browser.open(site.page)
    browser.wait_for("#errors .message", "detector.onnx is damaged or of another export")
    assert kept(browser, "static/worker.js") and not kept(browser, "detector.onnx")
    (site.folder / "detector.onnx").write_bytes(b"a model")
    date(10, site.folder / "detector.onnx")
    browser.find("#errors button").click()
    browser.wait_for("#model dd", "mobilenetv1")


def test_wrong_file_and_missing_model_are_explained(page, site, photo, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not a picture")
    page.find("#files").send_keys(f"{text}\n{photo}")
    page.wait_for("#errors .message", "notes.txt: This browser cannot read it")
    page.wait_for("#status", "red.png: 1 object shown")
    page.resize(PHONE)
    assert page.overflow() <= 0


def test_model_that_was_not_copied_is_explained(browser, site):
    (site.folder / "detector.onnx").write_bytes(b"half")
    browser.open(site.page)
    browser.wait_for("#errors .message", "detector.onnx has 4 bytes instead of 7")
    (site.folder / "detector.onnx").unlink()
    browser.find("#errors button").click()
    browser.wait_for("#errors .message", "detector.onnx cannot be loaded: the server answers with")
    (site.folder / "detector.onnx").write_bytes(b"a model")
    browser.find("#errors button").click()
    browser.wait_for("#model dd", "mobilenetv1")
