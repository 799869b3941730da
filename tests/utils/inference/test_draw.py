import logging

import numpy as np
import pytest
from matplotlib import font_manager

from utils import fonts
from utils.inference.detections import Detections
from utils.inference.draw import class_colour, draw_boxes, draw_heatmap, font_for


def make_detections(*boxes, label=0, score=0.9):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, score, np.float32),
        np.full(count, label, np.int32),
    )


def has_class_colour(pixels, label):
    return (pixels == class_colour(label)).all(axis=-1)


def label_of(name, width=400, height=300):
    """Returns the pixels of a label above a box in the middle of a black image."""
    image = np.zeros((height, width, 3), np.uint8)
    box = (width // 4, height // 2, width * 3 // 4, height - 10)
    return draw_boxes(image, make_detections(box), [name])[: height // 2 - 2]


def test_box_has_the_colour_of_its_class_and_the_image_is_not_modified():
    image = np.full((200, 300, 3), 7, np.uint8)
    drawn = draw_boxes(image, make_detections((50, 60, 250, 180), label=3), ["a", "b", "c", "d"])
    assert (image == 7).all()
    assert has_class_colour(drawn[[60, 180, 120, 120], [150, 150, 50, 250]], 3).all()
    assert (drawn[70:175, 60:240] == 7).all()


def test_no_detections_leave_the_image_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(draw_boxes(image, make_detections(), []), image)


@pytest.mark.parametrize("size", [(1, 1), (8, 20), (40, 60), (300, 20), (600, 900)])
def test_labels_stay_inside_small_images(size):
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    corners = [(0, 0, width, height), (width * 0.9, height * 0.9, width, height), (0, 0, 1, 1)]
    drawn = draw_boxes(image, make_detections(*corners), ["a rather long name 红细胞"])
    assert drawn.shape == image.shape
    assert has_class_colour(drawn, 0).any()


@pytest.mark.parametrize("top", [0, 290])
def test_label_at_the_border_is_complete(top):
    whole = has_class_colour(label_of("cat"), 0).sum()
    image = np.zeros((300, 400, 3), np.uint8)
    drawn = draw_boxes(image, make_detections((390, top, 400, 300)), ["cat"])
    assert has_class_colour(drawn, 0).sum() >= whole


def test_lines_and_letters_grow_with_the_image():
    small, large = label_of("cat"), label_of("cat", width=1600, height=1200)
    assert (large > 0).sum() > 5 * (small > 0).sum()


def test_class_colours_are_stable_and_distinct():
    colours = [class_colour(label) for label in range(20)]
    assert colours == [class_colour(label) for label in range(20)]
    distances = np.abs(np.array(colours)[:, None] - np.array(colours)[None]).sum(axis=-1)
    assert distances[~np.eye(20, dtype=bool)].min() > 60


@pytest.mark.parametrize("label", range(20))
def test_letters_contrast_with_their_bar(label):
    def luminance(colour):
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    image = np.full((100, 200, 3), 77, np.uint8)
    drawn = draw_boxes(image, make_detections((20, 60, 180, 90), label=label), ["IIII"] * 20)
    bar, ink = np.array(class_colour(label)) / 255, drawn[50].astype(int)
    ink = ink[np.abs(ink - class_colour(label)).sum(axis=-1).argmax()] / 255
    light, dark = sorted((luminance(bar), luminance(ink)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 3  # minimum contrast of large text in WCAG 2.1


def all_labels_differ(names):
    return len({label_of(name).tobytes() for name in names}) == len(names)


def test_common_scripts_need_no_system_font():
    names = ["cat", "红细胞", "白细胞", "カタカナ", "고양이", "Привет", "γάτα", "قطة", "חתול"]
    assert all_labels_differ(names)


def test_opencv_font_is_used_for_chinese():
    assert font_for("red cell").name == "DejaVuSans.ttf"
    assert font_for("红细胞") is None


@pytest.fixture
def system_fonts(monkeypatch):
    """Replaces the installed fonts."""
    caches = (font_for, fonts._system_fonts)

    def replace(paths):
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: paths)
        for cache in caches:
            cache.cache_clear()

    yield replace
    for cache in caches:
        cache.cache_clear()


def test_missing_font_is_reported_once(system_fonts, caplog):
    system_fonts([])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            label_of("แมว")
    assert len(caplog.records) == 1
    assert "install" in caplog.text


def test_system_font_is_used_if_no_other_has_the_letters(system_fonts, monkeypatch, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    (tmp_path / "with-thai.ttf").write_bytes(b"")
    system_fonts([str(path) for path in tmp_path.iterdir()])
    letters_of = fonts._letters_of
    monkeypatch.setattr(
        fonts,
        "_letters_of",
        lambda font: set(map(ord, "แมว")) if font.name == "with-thai.ttf" else letters_of(font),
    )
    assert font_for("แมว").name == "with-thai.ttf"


def test_heatmap_keeps_cold_pixels_and_reddens_hot_ones():
    image = np.full((10, 20, 3), 100, np.uint8)
    heat = np.zeros((10, 20), np.float32)
    heat[:, 10:] = 1
    overlay = draw_heatmap(image, heat)
    assert (overlay[:, :10] == 100).all()
    red, green, blue = overlay[0, 15].astype(int)
    assert red > green + 50
    assert red > blue + 50
