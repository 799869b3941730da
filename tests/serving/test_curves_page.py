"""The view that compares runs, in a real browser."""

import shutil

import pytest

from tests.browser import DESKTOP, PHONE
from tests.colour_finder import colour_network
from tests.served import running
from utils.run import RunDirectory

NAMES = ("<b>bold & 'run'", "second")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    for scale, name in enumerate(NAMES, 1):
        (logs / name).mkdir()
        rows = [{"epoch": i, "loss": scale / i, "map50": scale * i / 100} for i in range(1, 11)]
        RunDirectory(logs / name).write_history(rows)
    return logs


@pytest.fixture(scope="module")
def port(logs):
    with running(colour_network(), logs=logs) as served:
        yield served.port


@pytest.fixture
def page(browser, port):
    browser.console()
    browser.open(f"http://127.0.0.1:{port}/static/curves.html")
    browser.wait_for("#status", "2 runs")
    return browser


def lines(page, title):
    """The corners of the lines of a chart by run."""
    script = """
    return [...document.querySelectorAll(`.chart[aria-label="${arguments[0]}"] .line`)].map(
      (each) => [each.dataset.run, [...each.points].map(({ x, y }) => [x, y])]);
    """
    return dict(page.run(script, title))


def test_lines_follow_the_numbers(page):
    first, second = (lines(page, "mAP50, validation")[name] for name in NAMES)
    assert len(first) == len(second) == 10
    # The axes go from 0 to 0.2 and from epoch 1 to 10, with edges of 48 and 12 beside, and of 10
    # and 30 pixels above and below.
    script = "return document.querySelector('.chart svg').getAttribute('viewBox')"
    width, height = map(float, page.run(script).split()[2:])
    for points, scale in ((first, 1), (second, 2)):
        for i, (x, y) in enumerate(points, 1):
            assert x == pytest.approx(48 + (i - 1) * (width - 60) / 9, abs=0.1)
            assert y == pytest.approx(height - 30 - scale * i / 100 / 0.2 * (height - 40), abs=0.1)
    assert page.text(".chart[aria-label='Loss, validation'] svg") == "No values"
    assert page.console() == []


def test_runs_are_chosen_by_name(page):
    assert sorted(page.texts("#runs label")) == sorted(NAMES)  # names are no HTML
    cells = {each.split("\n")[0]: each.split("\n")[-1] for each in page.texts("#runs tbody tr")}
    assert cells["second"].split() == ["10", "20.0%", "-", "0.2"]
    label = next(each for each in page.all("#runs label") if each.text == NAMES[0])
    label.click()
    assert list(lines(page, "Loss, training")) == ["second"]
    page.find("#no-runs").click()
    assert lines(page, "Loss, training") == {}


def test_arrow_keys_read_the_values(page):
    from selenium.webdriver.common.keys import Keys

    page.run("document.querySelector('.chart svg').focus()")
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    text = page.text(".chart .readout")
    assert text.startswith("Epoch 2:") and "second 4.0%" in text


def test_logarithmic_loss(page):
    page.find("#log").click()
    ys = [y for _, y in lines(page, "Loss, training")["second"]]
    # Losses of 2, 1 and 0.5 at epochs 1, 2 and 4 are equally far apart.
    assert ys[1] - ys[0] == pytest.approx(ys[3] - ys[1], abs=0.2)


def test_damaged_and_new_runs(page, logs):
    for name, text in (("bad", "loss\n1\n"), ("new", "epoch,loss\n1,3\n")):
        (logs / name).mkdir()
        (logs / name / "history.csv").write_text(text)
    page.find("#reload").click()
    page.wait_for("#status", "3 runs")
    assert "bad/history.csv" in page.text("#errors")
    shutil.rmtree(logs / "bad")
    shutil.rmtree(logs / "new")


@pytest.mark.parametrize("size", [DESKTOP, PHONE, (360, 740)], ids=str)
def test_curves_fit_the_width(page, size):
    page.resize(size)
    assert page.overflow() <= 0
