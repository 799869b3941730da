import dataclasses
import math

import pytest

from utils.config import Recipe
from utils.training.schedule import image_size, is_frozen, learning_rate, share_done, uses_mosaic

RECIPE = Recipe(epochs=100, learning_rate=1.0, freeze_share=0.1, warmup_share=0.05)


def test_the_share_goes_by_epochs_or_by_the_clock_whichever_is_ahead():
    both = dataclasses.replace(RECIPE, max_minutes=10)
    assert share_done(RECIPE, epochs=25, seconds=1e9) == 0.25
    assert share_done(both, epochs=25, seconds=60) == 0.25
    assert share_done(both, epochs=25, seconds=300) == 0.5
    by_clock = dataclasses.replace(both, epochs=None)
    assert share_done(by_clock, epochs=1e9, seconds=150) == 0.25
    assert share_done(by_clock, epochs=0, seconds=6000) == 1.0


def test_the_rate_rises_in_either_phase_and_falls_as_a_cosine():
    # Half way through the decay lies between the peak and a hundredth of it.
    assert learning_rate(RECIPE, 0.5) == pytest.approx((1 + 0.01) / 2)
    assert learning_rate(RECIPE, 1.0) == pytest.approx(0.01)
    # A fifth into the first rise, and one percent of it to begin with.
    cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * 0.01)) / 2
    assert learning_rate(RECIPE, 0.01) == pytest.approx((0.2 + 0.01) * cosine)
    # Just before the backbone thaws the rate is at its full height, just after it starts again.
    assert learning_rate(RECIPE, 0.0999) > 0.9
    assert learning_rate(RECIPE, 0.1) < 0.02


def test_phases_end_at_their_shares():
    assert is_frozen(RECIPE, 0.0999) and not is_frozen(RECIPE, 0.1)
    assert not is_frozen(dataclasses.replace(RECIPE, freeze_share=0.0), 0.0)
    assert uses_mosaic(RECIPE, 0.6999) and not uses_mosaic(RECIPE, 0.7)


def test_images_grow_to_the_size_of_the_input():
    recipe = dataclasses.replace(RECIPE, small_share=0.5, small_scale=0.7)
    # 0.7 of 13 and 10 cells of 32 pixels are 9.1 and 7 of them. 192 pixels are 6 of 8 cells, which
    # makes 7.5 of 10 cells 8; and 6 of 6, which leaves all of 20.
    assert image_size(recipe, 0.4999, (416, 320)) == (288, 224)
    assert image_size(recipe, 0.4999, (256, 320)) == (192, 256)
    assert image_size(recipe, 0.4999, (192, 640)) == (192, 640)
    assert image_size(recipe, 0.4999, (64, 64)) == (64, 64)
    assert image_size(recipe, 0.5, (416, 320)) == (416, 320)
    assert image_size(RECIPE, 0.0, (416, 320)) == (416, 320)
