import dataclasses
import math

import pytest

from utils.config import Recipe
from utils.training.schedule import (
    is_frozen,
    learning_rate,
    share_done,
    training_size,
    uses_mosaic,
    validation_is_due,
)

RECIPE = Recipe(epochs=100, learning_rate=1.0, freeze_share=0.1, warmup_share=0.05)


def test_share_is_the_larger_of_epochs_and_time():
    both = dataclasses.replace(RECIPE, max_minutes=10)
    assert share_done(RECIPE, epochs=25, seconds=1e9) == 0.25
    assert share_done(both, epochs=25, seconds=60) == 0.25
    assert share_done(both, epochs=25, seconds=300) == 0.5
    by_time = dataclasses.replace(both, epochs=None)
    assert share_done(by_time, epochs=1e9, seconds=150) == 0.25
    assert share_done(by_time, epochs=0, seconds=6000) == 1.0


def validated_at(validations, seconds, limit=1000.0, epoch=0.01, growth=1.0):
    """Returns the shares at which a run of many epochs is validated."""
    recipe = dataclasses.replace(RECIPE, max_minutes=limit and limit / 60, validations=validations)
    last, spent, shares = 0.0, 0.0, []
    for number in range(1, round(1 / epoch) + 1):
        share = min(1.0, number * epoch)
        if validation_is_due(recipe, share, last, spent, seconds):
            shares.append(round(share, 3))
            last, spent, seconds = share, spent + seconds, seconds * growth
    return shares


def test_validations_of_a_run_without_a_time_limit_are_evenly_spaced():
    assert validated_at(4, 1e9, limit=None) == [0.25, 0.5, 0.75, 1.0]
    # In floats 0.3 - 0.2 < 0.1, which must not skip a validation.
    tenths = [number / 10 for number in range(1, 11)]
    assert validated_at(10, 0.0, limit=None, epoch=0.1) == tenths


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1.0, [0.25, 0.5, 0.75, 1.0]),  # as without a limit
        (50.0, [0.34, 0.67, 1.0]),  # two fit into a tenth of 1000 s, after a third and two
        (100.0, [0.5, 1.0]),
        (101.0, [1.0]),
    ],
)
def test_intermediate_validations_take_a_tenth_of_the_time_limit(seconds, expected):
    assert validated_at(4, seconds) == expected


def test_time_for_validations_is_kept_for_late_ones_if_they_take_longer_than_expected():
    # 10 s each would allow ten, but each takes 1.5 times as long as the one before.
    shares = validated_at(10, 10.0, growth=1.5)
    spent = sum(10 * 1.5**number for number in range(len(shares) - 1))
    assert 50 < spent <= 100
    assert shares[0] < 0.15 and shares[-2] > 0.6 and shares[-1] == 1.0


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
