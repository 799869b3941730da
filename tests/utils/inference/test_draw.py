import logging

import numpy as np
import pytest

from utils.inference import draw
from utils.inference.detections import Detections
from utils.inference.draw import class_colour, draw_boxes, draw_heatmap, font_for


def found(*boxes, label=0, score=0.9):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, score, np.float32),
        np.full(count, label, np.int32),
    )


def is_colour(pixels, label):
    return (pixels == class_colour(label)).all(axis=-1)


def label_of(name, width=400, height=300):
    """The pixels of a label drawn on black, over a box in the middle."""
    image = np.zeros((height, width, 3), np.uint8)
    box = (width // 4, height // 2, width * 3 // 4, height - 10)
    return draw_boxes(image, found(box), [name])[: height // 2 - 2]


def test_the_box_is_framed_in_its_classes_colour_and_the_picture_itself_stays():
    image = np.full((200, 300, 3), 7, np.uint8)
    drawn = draw_boxes(image, found((50, 60, 250, 180), label=3), ["a", "b", "c", "d"])
    assert (image == 7).all()
    assert is_colour(drawn[[60, 180, 120, 120], [150, 150, 50, 250]], 3).all()
    assert (drawn[70:175, 60:240] == 7).all()


def test_nothing_found_leaves_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(draw_boxes(image, found(), []), image)


@pytest.mark.parametrize("size", [(1, 1), (8, 20), (40, 60), (300, 20), (600, 900)])
def test_labels_stay_inside_however_small_the_picture(size):
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    corners = [(0, 0, width, height), (width * 0.9, height * 0.9, width, height), (0, 0, 1, 1)]
    drawn = draw_boxes(image, found(*corners), ["a rather long name 红细胞"])
    assert drawn.shape == image.shape
    assert is_colour(drawn, 0).any()


@pytest.mark.parametrize("top", [0, 290])
def test_a_label_at_the_border_is_whole(top):
    whole = is_colour(label_of("cat"), 0).sum()
    image = np.zeros((300, 400, 3), np.uint8)
    drawn = draw_boxes(image, found((390, top, 400, 300)), ["cat"])
    assert is_colour(drawn, 0).sum() >= whole


def test_line_and_letters_grow_with_the_picture():
    small, large = label_of("cat"), label_of("cat", width=1600, height=1200)
    assert (large > 0).sum() > 5 * (small > 0).sum()


def test_class_colours_are_stable_and_distinct():
    colours = [class_colour(label) for label in range(20)]
    assert colours == [class_colour(label) for label in range(20)]
    distances = np.abs(np.array(colours)[:, None] - np.array(colours)[None]).sum(axis=-1)
    assert distances[~np.eye(20, dtype=bool)].min() > 60


@pytest.mark.parametrize("label", range(20))
def test_letters_stand_out_from_their_bar(label):
    def luminance(colour):
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    image = np.full((100, 200, 3), 77, np.uint8)
    drawn = draw_boxes(image, found((20, 60, 180, 90), label=label), ["IIII"] * 20)
    bar, ink = np.array(class_colour(label)) / 255, drawn[50].astype(int)
    ink = ink[np.abs(ink - class_colour(label)).sum(axis=-1).argmax()] / 255
    light, dark = sorted((luminance(bar), luminance(ink)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 3  # WCAG 2.1's least contrast for large letters


def distinct(names):
    return len({label_of(name).tobytes() for name in names}) == len(names)


def test_scripts_that_need_no_font_of_the_machine():
    names = ["cat", "红细胞", "白细胞", "カタカナ", "고양이", "Привет", "γάτα", "قطة", "חתול"]
    assert distinct(names)


def test_opencv_draws_what_dejavu_lacks():
    assert font_for("red cell").name == "DejaVuSans.ttf"
    assert font_for("红细胞") is None


def test_a_script_that_no_font_has_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(draw.font_manager, "findSystemFonts", list)
    font_for.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            label_of("แมว")
    assert len(caplog.records) == 1
    assert "install" in caplog.text
    font_for.cache_clear()


def test_a_font_of_the_machine_is_taken_where_no_other_will_do(monkeypatch, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    (tmp_path / "with-thai.ttf").write_bytes(b"")
    fonts = [str(path) for path in tmp_path.iterdir()]
    monkeypatch.setattr(draw.font_manager, "findSystemFonts", lambda: fonts)
    letters_of = draw._letters_of
    monkeypatch.setattr(
        draw,
        "_letters_of",
        lambda font: set(map(ord, "แมว")) if font.name == "with-thai.ttf" else letters_of(font),
    )
    font_for.cache_clear()
    assert font_for("แมว").name == "with-thai.ttf"
    font_for.cache_clear()


def test_a_heatmap_leaves_what_is_cold_and_reddens_what_is_hot():
    image = np.full((10, 20, 3), 100, np.uint8)
    heat = np.zeros((10, 20), np.float32)
    heat[:, 10:] = 1
    overlay = draw_heatmap(image, heat)
    assert (overlay[:, :10] == 100).all()
    red, green, blue = overlay[0, 15].astype(int)
    assert red > green + 50
    assert red > blue + 50
