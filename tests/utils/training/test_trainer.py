import dataclasses
import math

import keras
import numpy as np
import pytest

from tests.tiny_run import RECIPE, At, make, weights_of
from utils.data.augment import Augmentation
from utils.data.dataset import BatchStream
from utils.errors import JobError
from utils.precision import use_precision
from utils.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("eagerly")


def test_a_run_follows_its_schedule(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.training.schedule.SMALLEST", 32)
    recipe = dataclasses.replace(
        RECIPE, mosaic_share=0.5, small_share=0.5, small_scale=0.5, warmup_share=0.0
    )
    trainer, seen = make(samples, tmp_path, recipe), []
    make_step = trainer.make_step

    def recorded():
        step = make_step()

        def call(*arrays):
            seen.append((arrays[0], float(trainer.optimizer.learning_rate)))
            return step(*arrays)

        return call

    monkeypatch.setattr(trainer, "make_step", recorded)
    trainer.run([])
    stream = BatchStream(samples, (64, 64), 2, 8, Augmentation(), seed=recipe.seed)
    assert len(seen) == 6
    for step, (images, rate) in enumerate(seen):
        early = step < 3
        expected, *_ = stream.batch(step, early, (32, 32) if early else (64, 64))
        np.testing.assert_array_equal(images, expected)
        fall = 0.01 + 0.99 * (1 + math.cos(math.pi * step / 6)) / 2
        assert rate == pytest.approx(1e-3 * fall)


def test_the_average_is_that_of_weights_and_statistics_and_survives_resuming(samples, tmp_path):
    trainer = make(samples[:2], tmp_path)  # one step an epoch
    average = weights_of(trainer)

    class Follow(keras.callbacks.Callback):
        """Momentum (1 + n) / (10 + n) after step n, at most 0.99."""

        def on_epoch_end(self, epoch, logs=None):
            for mean, now in zip(average, weights_of(trainer), strict=True):
                mean += 9 / (11 + epoch) * (now - mean)

    trainer.run([Follow()])
    resumed = make(samples[:2], tmp_path)
    resumed.resume()
    for one in (trainer, resumed):
        with one.averaged():
            for mine, expected in zip(weights_of(one), average, strict=True):
                np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-6)


def test_training_in_bfloat16_follows_that_in_float32(samples, tmp_path):
    losses = []
    for precision in ("float32", "mixed_bfloat16"):
        use_precision(precision)
        trainer = make(samples, tmp_path)
        trainer.run([])
        assert {weights.dtype for weights in weights_of(trainer)} <= {np.dtype("f4")}
        losses.append([row["loss"] for row in trainer.history])
    exact, rounded = losses
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.01)


def test_the_frozen_phase_leaves_the_backbone_alone(samples, tmp_path):
    def backbone_of(trainer):
        return [variable.numpy() for variable in trainer.detector.backbone.variables]

    trainer = make(samples, tmp_path, dataclasses.replace(RECIPE, freeze_share=0.67))
    before, at_the_end = backbone_of(trainer), []
    trainer.run([At(2, lambda: at_the_end.append(backbone_of(trainer)))])
    for was, then in zip(before, at_the_end[0], strict=True):
        np.testing.assert_array_equal(was, then)
    changed = [(was != now).any() for was, now in zip(before, backbone_of(trainer), strict=True)]
    assert np.mean(changed) > 0.9


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_decay_shrinks_kernels_of_backbone_and_head_alike_and_nothing_else(
    samples, tmp_path, optimizer
):
    # So much decay that one step, at a rate of about 1, takes nearly all of a kernel away.
    recipe = dataclasses.replace(
        RECIPE, epochs=1, optimizer=optimizer, learning_rate=1e-4, weight_decay=9e3,
        clip_norm=1e-6, warmup_share=0.0,
    )  # fmt: skip
    trainer = make(samples[:2], tmp_path, recipe)
    norms = {v.path: np.linalg.norm(v.numpy()) for v in trainer.detector.trainable_variables}
    trainer.run([])
    shrunk = {
        v.path
        for v in trainer.detector.trainable_variables
        if np.linalg.norm(v.numpy()) < 0.5 * norms[v.path]
    }
    kernels = {v.path for v in trainer.detector.trainable_variables if "kernel" in v.name}
    assert shrunk == kernels
    assert any("backbone" in path or "conv1" in path for path in kernels)


def test_a_loss_that_is_not_finite_names_step_term_and_images(samples, tmp_path):
    trainer = make(samples, tmp_path)

    def spoil():
        bias = trainer.detector.get_layer("head_p3_logits").bias
        bias.assign(np.full(bias.shape, np.nan))

    with pytest.raises(JobError, match=r"objectness.* loss of step 2 .*image\d\.png.*--lr"):
        trainer.run([At(1, spoil)])


def test_minutes_end_a_run_with_its_schedule_complete(samples, tmp_path, monkeypatch):
    seconds = [6.0]  # a tenth of the minute went by before training
    monkeypatch.setattr(Trainer, "seconds", property(lambda self: seconds[0]))
    trainer = make(samples, tmp_path, dataclasses.replace(RECIPE, epochs=None, max_minutes=1.0))

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seconds[0] += 12.0

    trainer.run([Clock()])
    assert [row["epoch"] for row in trainer.history] == [1, 2, 3, 4, 5]
    rates = [row["learning_rate"] for row in trainer.history]
    assert rates == sorted(rates, reverse=True)
