"""The page of a service that wants a token, in a real browser."""

import pytest

from tests.colour_finder import colour_network, picture, save
from tests.served import running

TOKEN = "0123456789abcdef"
ENTER = "document.getElementById('token-text').value = arguments[0]"
STALE = "sessionStorage.setItem('swapyolo-token', 'that-of-an-earlier-start')"


@pytest.fixture
def page(browser):
    """The page, which asks for the token."""
    with running(colour_network(), token=TOKEN) as served:
        browser.open(f"http://127.0.0.1:{served.port}/")
        browser.wait_for("#token label", "token")
        yield browser


def give(page, token):
    page.run(ENTER, token)
    page.find("#token button").click()


def test_token(page):
    page.find("#token-text").send_keys(TOKEN)
    page.find("#token button").click()
    page.wait_for("#model dd", "mobilenetv1")


def test_pictures_wait_until_the_token_is_given(page, tmp_path):
    give(page, TOKEN)
    page.wait_for("#model dd", "mobilenetv1")
    paths = [save(tmp_path / f"{i}.png", picture((64, 32, 128, 96))) for i in range(3)]
    page.run(STALE)
    page.find("#files").send_keys("\n".join(map(str, paths)))
    page.wait_for("#token label", "token")
    give(page, TOKEN)
    page.wait_for("#status", "2.png: 1 object shown")
    names = [each.get_attribute("alt") for each in page.all("#strip img")]
    assert names == ["0.png", "1.png", "2.png"]
    assert not page.find("#token").is_displayed()


def test_token_with_an_invisible_character_is_explained(page):
    give(page, f"\u200b{TOKEN}")
    page.wait_for("#errors .message", "A token has only letters")
    give(page, TOKEN)
    page.wait_for("#model dd", "mobilenetv1")
