"""A headless Chromium for tests of the pages, and what they all do with it."""

import json
import shutil
from pathlib import Path

import pytest

PATIENCE = 20.0  # seconds after which a test fails instead of waiting further
DRIVER = "/usr/bin/chromedriver"
BROWSERS = ("chromium", "chromium-browser")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses to run as root with it
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--lang=en",
)
DESKTOP, PHONE = (1280, 900), (390, 844)


def open_browser(downloads: Path):
    """Starts Chromium, which saves to a folder; skips the test if something is missing."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None or not Path(DRIVER).is_file():
        pytest.skip("needs the packages chromium and chromium-driver of Debian")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    service = selenium.ChromeService(DRIVER)
    driver = selenium.Chrome(options=options, service=service)
    driver.set_page_load_timeout(PATIENCE)
    driver.set_script_timeout(PATIENCE)
    return driver


class Page:
    """A page in a browser.

    Args:
        driver: The browser.
        downloads: Where it saves files.
    """

    def __init__(self, driver, downloads):
        self.driver = driver
        self.downloads = downloads

    def open(self, url, size=DESKTOP):
        self.resize(size)
        self.driver.get(url)

    def resize(self, size):
        """Sets the size of the page, also below the minimum of a window."""
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def colour_scheme(self, name):
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector):
        return self.find(selector).text

    def texts(self, selector):
        return [each.text for each in self.all(selector)]

    def wait(self, condition, what):
        """Waits until a function of no arguments is true."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = [StaleElementReferenceException]
        WebDriverWait(self.driver, PATIENCE, 0.05, ignored).until(lambda _: condition(), what)

    def wait_for(self, selector, words=""):
        """Waits for an element that can be seen and contains some words."""
        self.wait(
            lambda: any(words in each.text for each in self.all(selector) if each.is_displayed()),
            f"no {selector} with {words!r}",
        )

    def press(self, *keys):
        """Presses keys on what has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def downloaded(self, name):
        """Waits for a file and returns its path."""
        path = self.downloads / name
        self.wait(lambda: path.is_file() and path.stat().st_size > 0, f"no download {name}")
        return path

    def overflow(self):
        """Pixels by which the content is wider than the page."""
        return self.run(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def console(self):
        """Takes the messages of the console, such as violations of the policy."""
        return [json.dumps(entry["message"]) for entry in self.driver.get_log("browser")]
