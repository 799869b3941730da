import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from PIL import Image

from utils.evaluation.plots import draw_bars, draw_history
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


def test_validation_is_a_dashed_line_in_the_colour_of_training(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: drawn.append(self))
    history = [
        {"epoch": 1, "loss": 3.0, "box": 1.0, "val_loss": 4.0},
        {"epoch": 2},  # all steps were skipped
        {"epoch": 3, "loss": 2.0, "box": 0.5, "val_loss": 3.5},
    ]
    monkeypatch.setattr("utils.evaluation.plots.written_whole", lambda path: nullcontext([path]))
    draw_history(tmp_path / "loss.png", history, ("loss", "box", "class"), "Loss")
    lines = {line.get_label(): line for line in drawn[0].axes[0].get_lines()}
    assert list(lines) == ["loss", "val_loss", "box"]
    assert [lines[name].get_linestyle() for name in lines] == ["-", "--", "-"]
    assert lines["val_loss"].get_color() == lines["loss"].get_color() != lines["box"].get_color()
    assert lines["val_loss"].get_xydata().tolist() == [[1, 4.0], [3, 3.5]]
