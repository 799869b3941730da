import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data.letterbox import GREY, Letterbox, letterbox
from utils.inference.metadata import Preprocessing

SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
INPUTS = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(lambda s: (s[0] * 32, s[1] * 32))
FRACTIONS = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4)


@given(SIZES, INPUTS, FRACTIONS)
def test_inverse_inverts_forward(original, size, fractions):
    fit = Letterbox.fit(original, size)
    boxes = np.float32([fractions]) * np.float32([original[1], original[0]] * 2)
    mapped = fit.forward(boxes)
    assert (mapped >= -1e-3).all()
    assert (mapped <= np.float32([size[1], size[0]] * 2) + 1e-3).all()
    np.testing.assert_allclose(fit.inverse(mapped), boxes, atol=2e-3 * max(original) / min(size))


@given(SIZES, INPUTS)
def test_the_image_is_centred_and_touches_two_borders(original, size):
    fit = Letterbox.fit(original, size)
    left, top, right, bottom = fit.forward(np.array([0, 0, original[1], original[0]]))
    assert abs(left - (size[1] - right)) <= 1
    assert abs(top - (size[0] - bottom)) <= 1
    assert (left, right) == (0, size[1]) or (top, bottom) == (0, size[0])


def test_letterbox_by_hand():
    # 200 x 100 into 416: scale 2.08, 208 rows, (416 - 208) / 2 = 104 rows of grey above.
    fit = Letterbox.fit((100, 200), (416, 416))
    assert (fit.scale_x, fit.scale_y, fit.pad_x, fit.pad_y) == (2.08, 2.08, 0, 104)
    np.testing.assert_allclose(
        fit.forward(np.array([[10, 20, 110, 70]])), [[20.8, 145.6, 228.8, 249.6]]
    )


def test_inverse_clips_to_the_original():
    fit = Letterbox.fit((100, 200), (416, 416))
    np.testing.assert_array_equal(fit.inverse(np.array([[-50, 0, 500, 416]])), [[0, 0, 200, 100]])


def test_empty_arrays_of_boxes():
    fit = Letterbox.fit((100, 200), (416, 416))
    assert fit.forward(np.zeros((0, 4))).shape == fit.inverse(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("original", [(37, 90), (90, 37), (700, 500), (64, 96), (1, 900)])
@pytest.mark.parametrize("size", [(64, 96), (416, 416)])
def test_the_image_fills_its_box_and_the_rest_is_grey(original, size):
    canvas, fit = letterbox(np.full((*original, 3), 255, np.uint8), size)
    assert canvas.shape == (*size, 3)
    left, top, right, bottom = (
        fit.forward(np.array([0, 0, original[1], original[0]])).round().astype(int)
    )
    assert (canvas[top:bottom, left:right] == 255).all()
    canvas[top:bottom, left:right] = GREY
    assert (canvas == GREY).all()


def test_pixels_and_boxes_are_transformed_alike():
    image = np.zeros((300, 500, 3), np.uint8)
    image[60:180, 100:350] = 255
    canvas, fit = letterbox(image, (224, 320))
    rows, columns = np.nonzero((canvas > 192).all(axis=-1))
    bounds = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(bounds, fit.forward(np.array([100, 60, 350, 180])), atol=1)


def test_an_image_decoded_at_half_size_gives_the_same_result():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    full = image.repeat(8, 0).repeat(8, 1)
    fit = Letterbox.fit(full.shape[:2], (96, 96))
    half = image.repeat(4, 0).repeat(4, 1)
    np.testing.assert_allclose(fit.apply(half), fit.apply(full), atol=2)


def test_downscaling_averages_and_upscaling_interpolates():
    board = np.stack([np.indices((400, 400)).sum(0) % 2 * 200] * 3, -1).astype(np.uint8)
    assert (Letterbox.fit((400, 400), (96, 96)).apply(board).std()) < 10
    steps = np.stack([np.arange(20) * 10] * 20).astype(np.uint8)[..., None].repeat(3, -1)
    enlarged = Letterbox.fit((20, 20), (96, 96)).apply(steps).astype(int)
    assert np.abs(np.diff(enlarged[48, :, 0])).max() <= 3


def test_a_stretched_image_fills_the_input():
    # 100 high and 200 wide into 416 x 416: scales 4.16 and 2.08, no padding.
    fit = Letterbox.fit((100, 200), (416, 416), stretch=True)
    assert (fit.scale_y, fit.scale_x, fit.pad_x, fit.pad_y) == (4.16, 2.08, 0, 0)
    box = np.float32([[50, 25, 150, 75]])
    np.testing.assert_allclose(fit.forward(box), [[104, 104, 312, 312]], rtol=1e-6)
    np.testing.assert_allclose(fit.inverse(fit.forward(box)), box, rtol=1e-6)
    assert fit.apply(np.full((100, 200, 3), 7, np.uint8)).min() == 7  # no grey


def test_exported_models_state_the_padding():
    assert Preprocessing().pad_value == GREY
