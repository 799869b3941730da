import warnings

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from utils.evaluation.plots import draw_bars
from utils.fonts import plain_font


@pytest.fixture
def chinese_font(tmp_path):
    """A font that draws 猫 as DejaVu Sans draws a full block."""
    font = TTFont(plain_font())
    block = font.getBestCmap()[ord("█")]
    for table in font["cmap"].tables:
        if table.isUnicode():
            table.cmap = {ord("猫"): block}
    for record in font["name"].names:
        record.string = "Test Chinese"
    path = tmp_path / "chinese.ttf"
    font.save(path)
    return path


def drawn(path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_bars(path, {name: 0.5}, "title")
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def test_missing_letters_are_drawn_with_another_font(chinese_font, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.fonts._system_fonts", lambda: [])
    without = drawn(tmp_path / "without.png", "猫")
    monkeypatch.setattr("utils.fonts._system_fonts", lambda: [chinese_font])
    with_font = drawn(tmp_path / "with.png", "猫")
    dark = [(image[:, :40] < 60).sum() for image in (without, with_font)]
    assert dark[1] > dark[0] + 50
