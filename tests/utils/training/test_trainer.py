import dataclasses
import math
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tiny_run import RECIPE, CallAtEpoch, make_trainer, resume_trainer, weights_of
from utils.config import Augmentation
from utils.data.dataset import BatchSettings, BatchStream
from utils.errors import JobError
from utils.precision import use_precision
from utils.training.progress import Progress

pytestmark = pytest.mark.usefixtures("eagerly")


def test_run_follows_its_schedule(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.training.schedule.MIN_TRAINING_SIDE", 32)
    recipe = dataclasses.replace(
        RECIPE, mosaic_share=0.5, small_share=0.5, small_scale=0.5, warmup_share=0.0
    )
    trainer, calls = make_trainer(samples, tmp_path, recipe), []
    make_step = trainer.make_step

    def recorded():
        step = make_step()

        def call(*arrays):
            calls.append((arrays[0], float(trainer.optimizer.learning_rate)))
            return step(*arrays)

        return call

    monkeypatch.setattr(trainer, "make_step", recorded)
    trainer.run([])
    stream = BatchStream(samples, BatchSettings((64, 64), 2, 8, Augmentation(), recipe.seed))
    assert len(calls) == 6
    for step, (images, rate) in enumerate(calls):
        early = step < 3
        expected, *_ = stream.batch(step, early, (32, 32) if early else (64, 64))
        np.testing.assert_array_equal(images, expected)
        fall = 0.01 + 0.99 * (1 + math.cos(math.pi * step / 6)) / 2
        assert rate == pytest.approx(1e-3 * fall)


def test_moving_average_covers_weights_and_statistics_and_survives_resuming(samples, tmp_path):
    trainer = make_trainer(samples[:2], tmp_path)  # one step per epoch
    average = weights_of(trainer)

    class ExpectedAverage(keras.callbacks.Callback):
        """Averages with the momentum (1 + n) / (10 + n) after step n, at most 0.99."""

        def on_epoch_end(self, epoch, logs=None):
            for mean, value in zip(average, weights_of(trainer), strict=True):
                mean += 9 / (11 + epoch) * (value - mean)

    trainer.run([ExpectedAverage()])
    resumed = resume_trainer(samples[:2], tmp_path)
    for averaged in (trainer, resumed):
        with averaged.averaged():
            for weight, expected in zip(weights_of(averaged), average, strict=True):
                np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-6)


def test_bfloat16_losses_are_close_to_float32(samples, tmp_path):
    losses = []
    for precision in ("float32", "mixed_bfloat16"):
        use_precision(precision)
        trainer = make_trainer(samples, tmp_path)
        trainer.run([])
        assert {weights.dtype for weights in weights_of(trainer)} <= {np.dtype("f4")}
        losses.append([row["loss"] for row in trainer.progress.history])
    exact, rounded = losses
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.01)


def test_frozen_phase_does_not_change_the_backbone(samples, tmp_path):
    def backbone_of(trainer):
        return [variable.numpy() for variable in trainer.detector.backbone.variables]

    trainer = make_trainer(samples, tmp_path, dataclasses.replace(RECIPE, freeze_share=0.67))
    before, frozen = backbone_of(trainer), []
    trainer.run([CallAtEpoch(2, lambda: frozen.append(backbone_of(trainer)))])
    for was, then in zip(before, frozen[0], strict=True):
        np.testing.assert_array_equal(was, then)
    changed = [(was != now).any() for was, now in zip(before, backbone_of(trainer), strict=True)]
    assert np.mean(changed) > 0.9


def test_only_the_step_of_the_current_phase_is_kept(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.training.schedule.MIN_TRAINING_SIDE", 32)
    # One epoch each: frozen on small images, trained on small ones, trained on large ones.
    recipe = dataclasses.replace(
        RECIPE, epochs=3, freeze_share=0.3, small_share=0.6, small_scale=0.5
    )
    trainer, steps = make_trainer(samples, tmp_path, recipe), []
    make_step = trainer.make_step

    def recorded():
        step = make_step()
        steps.append(weakref.ref(step))
        return step

    monkeypatch.setattr(trainer, "make_step", recorded)
    trainer.run([])
    assert [step() is not None for step in steps] == [False, False, True]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_shrinks_all_kernels_and_nothing_else(samples, tmp_path, optimizer):
    # 1e-4 times 9e3 is about 1: one step of decay removes nearly all of a kernel.
    recipe = dataclasses.replace(
        RECIPE, epochs=1, optimizer=optimizer, learning_rate=1e-4, weight_decay=9e3,
        clip_norm=1e-6, warmup_share=0.0,
    )  # fmt: skip
    trainer = make_trainer(samples[:2], tmp_path, recipe)
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


def test_error_of_a_non_finite_loss_names_step_term_and_images(samples, tmp_path):
    def spoil():
        compute_loss = trainer.detector.compute_loss
        trainer.detector.compute_loss = lambda *batch: {
            **compute_loss(*batch),
            "objectness": tf.constant(np.nan),
        }

    recipe = dataclasses.replace(RECIPE, epochs=4)
    trainer = make_trainer(samples, tmp_path, recipe)
    with pytest.raises(JobError, match=r"step 6, .*objectness loss .* of .*image\d\.png.*--lr"):
        trainer.run([CallAtEpoch(1, spoil)])


def test_time_limit_completes_the_schedule(samples, tmp_path, monkeypatch):
    seconds = [6.0]  # a tenth of the minute has passed before training
    monkeypatch.setattr(Progress, "seconds", property(lambda self: seconds[0]))
    recipe = dataclasses.replace(RECIPE, epochs=None, max_minutes=1.0)
    trainer = make_trainer(samples, tmp_path, recipe)

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seconds[0] += 12.0

    trainer.run([Clock()])
    history = trainer.progress.history
    # The time passes after the fifth epoch, so the sixth has no steps.
    assert [row["epoch"] for row in history if "loss" in row] == [1, 2, 3, 4, 5]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    rates = [row["learning_rate"] for row in history]
    assert rates[0] < 0.02 * RECIPE.learning_rate  # the warm-up starts with the training
    assert rates[1:] == sorted(rates[1:], reverse=True)
