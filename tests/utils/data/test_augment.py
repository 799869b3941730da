import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.config import Augmentation
from utils.data.augment import Placement, plan, shift_colours
from utils.data.images import reduction
from utils.data.letterbox import GREY

PLAIN = Augmentation(hue=0, saturation=0, value=0)
SIZES = [(90, 160), (200, 120), (64, 64), (333, 250), (48, 300)]
CANVAS = (160, 224)
MARKER = (0.25, 0.3, 0.7, 0.8)  # xyxy as fractions of the sides of an image


def image_with_marker(size):
    """A black image with a white rectangle, and the box (1, 4) of the rectangle."""
    image = np.zeros((*size, 3), np.uint8)
    left, top, right, bottom = (
        round(fraction * side)
        for fraction, side in zip(MARKER, (size[1], size[0]) * 2, strict=True)
    )
    image[top:bottom, left:right] = 255
    return image, np.array([[left, top, right, bottom]], np.float32)


def bounds(mask):
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@given(st.integers(0, 2**32), st.integers(0, len(SIZES) - 1), st.booleans())
def test_boxes_and_pixels_are_transformed_alike(seed, index, mosaic):
    """Covers single images and mosaics, flipped or not, clipped or not."""
    augmentation = dataclasses.replace(PLAIN, mosaic=1.0, mixup=0.0)
    [picture] = plan(np.random.default_rng(seed), augmentation, index, SIZES, CANVAS, mosaic)
    assert len(picture.parts) == (4 if mosaic else 1)
    canvas = np.zeros((*CANVAS, 3), np.uint8)
    for other, placement in picture.parts:
        image, box = image_with_marker(SIZES[other])
        placement.draw(image, canvas)
        [box], [kept] = placement.forward(box)
        left, top, right, bottom = placement.tile
        white = np.zeros(CANVAS, bool)
        white[top:bottom, left:right] = canvas[top:bottom, left:right, 0] > 192
        if kept and min(box[2] - box[0], box[3] - box[1]) > 4:
            np.testing.assert_allclose(bounds(white), box, atol=1.5)
    assert (canvas != 0).any()


def test_a_mosaic_covers_the_canvas_and_its_images_meet_at_one_point():
    augmentation = dataclasses.replace(PLAIN, mosaic=1.0)
    for seed in range(20):
        mosaic, *_ = plan(np.random.default_rng(seed), augmentation, 0, SIZES, CANVAS, True)
        covered = np.zeros(CANVAS, int)
        for _, placement in mosaic.parts:
            left, top, right, bottom = placement.tile
            covered[top:bottom, left:right] += 1
            assert placement.left < right
            assert placement.left + placement.width > left
            assert placement.top < bottom
            assert placement.top + placement.height > top
        assert (covered == 1).all()
        corners = [
            {(x, y) for x in (p.left, p.left + p.width) for y in (p.top, p.top + p.height)}
            for _, p in mosaic.parts
        ]
        assert set.intersection(*corners) == {mosaic.parts[0][1].tile[2:]}
        assert 0 in [index for index, _ in mosaic.parts]


def place(flip, original=(40, 80), tile=(0, 0, 80, 40), **changes):
    """Makes a placement; by default, it fills a canvas of the size of the image."""
    rectangle = {"left": 0, "top": 0, "width": original[1], "height": original[0]} | changes
    return Placement(original=original, flip=flip, tile=tile, **rectangle)


def test_the_identity_placement_keeps_the_image():
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8)
    canvas = np.zeros_like(image)
    place(flip=False).draw(image, canvas)
    np.testing.assert_array_equal(canvas, image)


def test_a_flip_mirrors_pixels_and_boxes_exactly():
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8)
    canvas = np.zeros_like(image)
    place(flip=True).draw(image, canvas)
    np.testing.assert_array_equal(canvas, image[:, ::-1])
    # 80 - 30.5 = 49.5 and 80 - 10.25 = 69.75
    boxes, _ = place(flip=True).forward(np.array([[10.25, 5, 30.5, 20]]))
    np.testing.assert_array_equal(boxes, [[49.5, 5, 69.75, 20]])


def test_a_small_image_is_padded_with_grey():
    canvas = np.zeros((40, 80, 3), np.uint8)
    place(flip=False, left=20, top=10, width=20, height=10).draw(
        np.full((40, 80, 3), 255, np.uint8), canvas
    )
    assert (canvas[11:19, 21:39] == 255).all()
    canvas[9:21, 19:41] = GREY  # pixels at the border are blended
    assert (canvas == GREY).all()


def test_an_image_decoded_at_half_size_is_drawn_at_the_same_place():
    coarse = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    small, large = (np.zeros((30, 50, 3), np.uint8) for _ in range(2))
    placement = place(flip=True, tile=(0, 0, 50, 30), left=5, top=5, width=40, height=20)
    placement.draw(coarse, small)
    placement.draw(coarse.repeat(2, 0).repeat(2, 1), large)
    np.testing.assert_array_equal(small[5:25, 5:45], coarse[:, ::-1])
    np.testing.assert_array_equal(large[6:24, 6:44], small[6:24, 6:44])


def test_a_small_image_decoded_at_an_eighth_of_its_size_fills_its_place():
    assert reduction((66, 66), (8, 8)) == 8  # so it is decoded to 9x9, and 66 / 9 is nearer to 7
    canvas = np.zeros((8, 8, 3), np.uint8)
    placement = place(flip=False, original=(66, 66), tile=(0, 0, 8, 8), width=8, height=8)
    placement.draw(np.full((9, 9, 3), 255, np.uint8), canvas)
    assert (canvas == 255).all()


def test_objects_that_are_barely_visible_are_dropped():
    # The tile contains columns 40 to 80 of the image.
    placement = place(flip=False, tile=(0, 0, 40, 40), left=-40)
    boxes, kept = placement.forward(
        np.array(
            [
                [50, 10, 70, 30],  # inside
                [33, 10, 43, 30],  # 3 of 10 columns visible
                [31, 10, 41, 30],  # 1 of 10 columns visible
                [0, 10, 39, 30],  # invisible
                [50, 10, 51.5, 30],  # narrower than 2 pixels
                [70, -5, 95, 30],  # extends beyond the image, so it is clipped first
            ]
        )
    )
    assert kept.tolist() == [True, True, False, False, False, True]
    np.testing.assert_array_equal(boxes[0], [10, 10, 30, 30])
    np.testing.assert_array_equal(boxes[1], [0, 10, 3, 30])
    np.testing.assert_array_equal(boxes[5], [30, 0, 40, 30])


def test_boxes_are_also_clipped_to_their_image():
    placement = place(flip=False, left=20, top=10, width=40, height=20)
    boxes, _ = placement.forward(np.array([[-8, -8, 90, 20]]))
    np.testing.assert_array_equal(boxes, [[20, 10, 60, 20]])


def test_the_same_seed_gives_the_same_plan():
    first, again = (
        plan(np.random.default_rng([1, 2]), Augmentation(), 1, SIZES, CANVAS, True) for _ in "ab"
    )
    assert first == again
    assert first != plan(np.random.default_rng([1, 3]), Augmentation(), 1, SIZES, CANVAS, True)


def test_mosaic_and_mixup_have_their_probabilities_unless_disabled():
    def frequencies(mosaic):
        plans = [
            plan(np.random.default_rng(s), Augmentation(), 0, SIZES, CANVAS, mosaic)
            for s in range(400)
        ]
        return (
            np.mean([len(pictures[0].parts) == 4 for pictures in plans]),
            np.mean([len(pictures) == 2 for pictures in plans]),
        )

    assert frequencies(False) == (0, 0)
    np.testing.assert_allclose(frequencies(True), (0.5, 0.25), atol=0.07)


def test_sizes_are_in_range():
    for seed in range(200):
        [picture] = plan(np.random.default_rng(seed), PLAIN, 1, SIZES, CANVAS, False)
        [(_, placement)] = picture.parts
        fill = max(placement.height / CANVAS[0], placement.width / CANVAS[1])
        assert 0.25 <= fill <= 2
        aspect = (placement.width / placement.height) / (120 / 200)
        assert 0.7 / 1.3 <= aspect <= 1.3 / 0.7


def test_all_variations_of_a_single_image_use_their_whole_range():
    pictures = [
        plan(np.random.default_rng(seed), Augmentation(), 1, SIZES, CANVAS, False)[0]
        for seed in range(400)
    ]
    places = [picture.parts[0][1] for picture in pictures]
    fill = [max(p.height / CANVAS[0], p.width / CANVAS[1]) for p in places]
    assert 0.25 <= min(fill) < 0.3 and 1.9 < max(fill) <= 2
    aspect = [p.width / p.height / (120 / 200) for p in places]
    assert min(aspect) < 0.65 and max(aspect) > 1.55
    assert np.mean([p.flip for p in places]) == pytest.approx(0.5, abs=0.1)
    for positions in (
        [p.left / (CANVAS[1] - p.width) for p in places],
        [p.top / (CANVAS[0] - p.height) for p in places],
    ):
        assert 0 <= min(positions) < 0.05 and 0.95 < max(positions) <= 1
    gains = np.array([picture.gains for picture in pictures]) - 1
    np.testing.assert_allclose(gains.max(axis=0), (0.1, 0.7, 0.4), rtol=0.1)
    np.testing.assert_allclose(gains.min(axis=0), (-0.1, -0.7, -0.4), rtol=0.1)


def test_all_variations_of_a_mosaic_use_their_whole_range():
    augmentation = Augmentation(mosaic=1.0, mixup=0.0, mosaic_scale=(0.4, 0.8))
    mosaics = [
        plan(np.random.default_rng(seed), augmentation, 1, SIZES, CANVAS, True)[0]
        for seed in range(200)
    ]
    centres = np.array([mosaic.parts[0][1].tile[2:] for mosaic in mosaics]) / (CANVAS[::-1])
    np.testing.assert_allclose(centres.min(axis=0), 0.3, atol=0.02)
    np.testing.assert_allclose(centres.max(axis=0), 0.7, atol=0.02)
    places = [placement for mosaic in mosaics for _, placement in mosaic.parts]
    fill = [max(p.height / CANVAS[0], p.width / CANVAS[1]) for p in places]
    assert 0.4 <= min(fill) < 0.42 and 0.78 < max(fill) <= 0.8
    assert np.mean([p.flip for p in places]) == pytest.approx(0.5, abs=0.1)
    assert len({index for mosaic in mosaics for index, _ in mosaic.parts}) == len(SIZES)


@pytest.mark.parametrize("grey", [0, 100, 128, 255])
def test_hue_and_saturation_do_not_change_grey(grey):
    image = np.full((4, 4, 3), grey, np.uint8)
    shift_colours(image, (1.1, 1.7, 1.0))
    assert (image == grey).all()


def test_saturation_and_brightness_are_multiplied():
    image = np.full((4, 4, 3), (200, 100, 100), np.uint8)  # hue 0, saturation 1/2, brightness 200
    shift_colours(image, (1.0, 1.5, 0.5))
    # Brightness 100, saturation 3/4: the other channels are 100 x (1 - 3/4).
    np.testing.assert_allclose(image[0, 0], (100, 25, 25), atol=1)


def test_hue_wraps_around():
    image = np.full((4, 4, 3), (255, 0, 170), np.uint8)  # 320 degrees
    shift_colours(image, (1.6875, 1.0, 1.0))  # 540 degrees, which is 180
    np.testing.assert_allclose(image[0, 0], (0, 255, 255), atol=4)
