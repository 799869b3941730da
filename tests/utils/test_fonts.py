import shutil
from pathlib import Path

import pytest
from matplotlib import font_manager

from utils import fonts


@pytest.fixture
def installed(monkeypatch):
    """Replaces the installed fonts."""

    def install(*paths):
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(map(str, paths)))

    fonts._system_fonts.cache_clear()
    yield install
    fonts._system_fonts.cache_clear()


def test_dejavu_sans_comes_with_matplotlib():
    assert fonts.plain_font().name == "DejaVuSans.ttf"


@pytest.mark.parametrize(
    ("text", "missing"),
    [("raccoon Ω ж é", ""), ("浣熊", "浣熊"), ("cat 猫 2", "猫"), ("", "")],
)
def test_letters_that_dejavu_sans_lacks(text, missing):
    assert fonts.missing_letters(text) == missing


def test_the_font_with_the_shortest_name_that_has_all_letters_is_found(installed, tmp_path):
    regular, bold = tmp_path / "Sans.ttf", tmp_path / "Sans-Bold.ttf"
    for path in (regular, bold):
        shutil.copy(fonts.plain_font(), path)
    damaged = tmp_path / "a.ttf"
    damaged.write_bytes(b"not a font")
    symbols = Path(font_manager.findfont("STIXSizeOneSym"))  # has few letters
    installed(bold, symbols, regular, damaged)
    assert fonts.find_font("Ωж") == regular


def test_no_font_has_all_letters(installed):
    installed(fonts.plain_font())
    assert fonts.find_font("cat 猫") is None


def test_no_font_is_installed(installed):
    installed()
    assert fonts.find_font("cat") is None
