import dataclasses
import math

import pytest

from utils.config import Recipe
from utils.training.schedule import is_frozen, learning_rate, share_done, training_size, uses_mosaic

RECIPE = Recipe(epochs=100, learning_rate=1.0, freeze_share=0.1, warmup_share=0.05)


def test_share_is_the_larger_of_epochs_and_time():
    both = dataclasses.replace(RECIPE, max_minutes=10)
    assert share_done(RECIPE, epochs=25, seconds=1e9) == 0.25
    assert share_done(both, epochs=25, seconds=60) == 0.25
    assert share_done(both, epochs=25, seconds=300) == 0.5
    by_time = dataclasses.replace(both, epochs=None)
    assert share_done(by_time, epochs=1e9, seconds=150) == 0.25
    assert share_done(by_time, epochs=0, seconds=6000) == 1.0


def test_learning_rate_warms_up_in_each_phase_and_decays_as_a_cosine():
    # At half of the run, the rate is the mean of the peak and a hundredth of the peak.
    assert learning_rate(RECIPE, 0.5) == pytest.approx((1 + 0.01) / 2)
    assert learning_rate(RECIPE, 1.0) == pytest.approx(0.01)
    # After a fifth of the first warm-up, which starts at one percent.
    cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * 0.01)) / 2
    assert learning_rate(RECIPE, 0.01) == pytest.approx((0.2 + 0.01) * cosine)
    # Full rate just before the backbone is unfrozen, a new warm-up just after.
    assert learning_rate(RECIPE, 0.0999) > 0.9
    assert learning_rate(RECIPE, 0.1) < 0.02


def test_phases_end_at_their_shares():
    assert is_frozen(RECIPE, 0.0999) and not is_frozen(RECIPE, 0.1)
    assert not is_frozen(dataclasses.replace(RECIPE, freeze_share=0.0), 0.0)
    assert uses_mosaic(RECIPE, 0.6999) and not uses_mosaic(RECIPE, 0.7)


def test_training_images_grow_to_the_input_size():
    recipe = dataclasses.replace(RECIPE, small_share=0.5, small_scale=0.7)
    # 13 and 10 cells of 32 pixels times 0.7 are 9.1 and 7 cells. The minimum of 192 pixels is 6
    # cells. If the smaller side has 8 cells, 10 cells are scaled to 7.5, which is rounded to 8. If
    # it has 6 cells, nothing is scaled.
    assert training_size(recipe, 0.4999, (416, 320)) == (288, 224)
    assert training_size(recipe, 0.4999, (256, 320)) == (192, 256)
    assert training_size(recipe, 0.4999, (192, 640)) == (192, 640)
    assert training_size(recipe, 0.4999, (64, 64)) == (64, 64)
    assert training_size(recipe, 0.5, (416, 320)) == (416, 320)
    assert training_size(RECIPE, 0.0, (416, 320)) == (416, 320)
