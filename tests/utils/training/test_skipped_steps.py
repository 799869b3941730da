import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.tiny_run import RECIPE, make_trainer, resume_trainer, tiny_network, weights_of
from utils.config import Recipe
from utils.errors import JobError
from utils.training.guard import StepGuard
from utils.training.progress import Progress
from utils.training.train_step import SKIPPED, make_train_step
from utils.training.trained_weights import TrainedWeights

BOXES = np.zeros((2, 1, 4), np.float32), np.zeros((2, 1), np.int32)
GOOD = np.random.default_rng(0).normal(3, 1, (2, 4, 4, 2)).astype(np.float32)
BAD = np.where(np.arange(2)[:, None, None, None] == 1, np.nan, GOOD).astype(np.float32)


def make_step(recipe):
    network = tiny_network()
    network.compute_loss = lambda images, *_: {
        "box": tf.reduce_mean(network(images, training=True) ** 2)
    }
    trained = TrainedWeights(network, recipe, tf.distribute.get_strategy())
    return make_train_step(network, trained, recipe), trained


def values(trained):
    return [(v.name, v.numpy()) for owned in trained.variables.values() for v in owned]


def assert_equal(one, other, but=()):
    for (name, value), (_, expected) in zip(one, other, strict=True):
        if name not in but:
            np.testing.assert_array_equal(value, expected, err_msg=name)


@pytest.mark.parametrize(
    ("name", "precision", "jit"),
    [
        ("adamw", "float32", False),
        ("adamw", "float32", True),
        ("adamw", "mixed_float16", False),
        ("sgd", "float32", False),
    ],
)
def test_step_with_a_nan_changes_nothing(name, precision, jit):
    recipe = Recipe(optimizer=name, weight_decay=0.1, batch_size=2, precision=precision, jit=jit)
    (step, trained), (clean_step, clean) = make_step(recipe), make_step(recipe)
    for _ in range(2):
        assert step(GOOD, *BOXES)[SKIPPED] == clean_step(GOOD, *BOXES)[SKIPPED] == 0
    before = values(trained)
    assert step(BAD, *BOXES)[SKIPPED] == 1
    # Keras' loss scaling skips the step by itself, halves its scale and counts from the start.
    scaler = ("dynamic_scale", "step_counter")
    assert_equal(before, values(trained), but=scaler)
    if precision == "mixed_float16":
        assert float(trained.optimizer.dynamic_scale) == 2.0**14
    step(GOOD, *BOXES)
    clean_step(GOOD, *BOXES)
    if precision == "float32":
        assert_equal(values(clean), values(trained))
    (_, now), (_, then) = values(trained)[0], before[0]
    assert (now != then).any()


def test_step_with_infinite_features_changes_nothing():
    step, trained = make_step(Recipe(batch_size=2))
    step(GOOD, *BOXES)
    before = values(trained)
    assert step(GOOD * np.float32(1e25), *BOXES)[SKIPPED] == 1  # squared, they exceed float32
    assert_equal(before, values(trained))


class SpoilSteps:
    """Replaces the result of some steps, as if an image had made them NaN."""

    def __init__(self, trainer, steps):
        self._make = trainer.make_step
        self._steps, self._trainer = steps, trainer
        trainer.make_step = self

    def __call__(self):
        step = self._make()

        def call(*batch):
            if self._trainer.progress.step not in self._steps:
                return step(*batch)
            nan = tf.constant(np.nan)
            return {"box": nan, "objectness": tf.constant(1.0), "class": nan, SKIPPED: tf.ones(())}

        return call


@pytest.mark.usefixtures("eagerly")
def test_skipped_steps_are_counted_and_reported(samples, tmp_path, capsys):
    trainer = make_trainer(samples, tmp_path)
    SpoilSteps(trainer, {0, 2, 3})
    trainer.run([])
    first, second, third = trainer.progress.history
    assert first["skipped"] == 1 and np.isfinite(first["loss"])  # the mean of the other step
    assert second["skipped"] == 2 and "loss" not in second
    assert "skipped" not in third
    assert (
        trainer.progress.skipped_steps
        == resume_trainer(samples, tmp_path).progress.skipped_steps
        == 3
    )
    assert (
        "step 2 was skipped, because its box loss and class loss are not finite"
        in capsys.readouterr().err
    )


NAN = {"box": math.nan, "objectness": 1.0, "class": 1.0, SKIPPED: 1.0}
FINITE = {"box": 1.0, "objectness": 1.0, "class": 1.0, SKIPPED: 0.0}


def make_guard(recipe=RECIPE):
    progress = Progress(recipe, steps_per_epoch=100)
    return StepGuard(progress, lambda step: [Path(f"{step}.jpg")], Path("last.npz")), progress


def test_fifth_skipped_step_in_a_row_is_an_error():
    guard, progress = make_guard()
    for step, values in enumerate([NAN] * 4 + [FINITE] + [NAN] * 4):
        warning = guard.receive(step, values)
        assert (warning is None) == (values is FINITE)
    expected = (
        r"^5 steps in a row .* step 9, has a non-finite box loss in the batch of 9\.jpg: .*--lr"
    )
    with pytest.raises(JobError, match=expected):
        guard.receive(9, NAN)
    assert progress.skipped_steps == 9
    assert progress.mean_losses == {"box": 1.0, "objectness": 1.0, "class": 1.0}


def test_gradient_is_named_if_the_losses_are_finite():
    guard, _ = make_guard()
    assert "its gradient is not finite" in guard.receive(7, FINITE | {SKIPPED: 1.0})


def test_search_for_the_loss_scale_is_no_failure():
    guard, progress = make_guard(dataclasses.replace(RECIPE, precision="mixed_float16"))
    # From a scale of 2^15, 15 steps halve it to 1; five more are failures.
    assert [guard.receive(step, NAN) for step in range(19)] == [None] * 19
    with pytest.raises(JobError, match="20 steps in a row"):
        guard.receive(19, NAN)
    assert progress.skipped_steps == 20


@pytest.mark.usefixtures("eagerly")
def test_state_that_is_not_finite_replaces_none(samples, tmp_path):
    trainer = make_trainer(samples, tmp_path)
    trainer.save()
    saved = weights_of(trainer)
    trainer.detector.get_layer("head_p4_logits").bias.assign(np.full(21, np.inf))
    with pytest.raises(
        JobError, match=r"head_p4_logits/bias is not finite.*last\.npz keeps.*--resume"
    ):
        trainer.save()
    for one, other in zip(saved, weights_of(resume_trainer(samples, tmp_path)), strict=True):
        np.testing.assert_array_equal(one, other)
