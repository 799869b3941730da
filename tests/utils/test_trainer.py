import dataclasses
import math
import os
import signal

import keras
import numpy as np
import pytest

from nets.detector import Detector
from tests.vocset import add_image
from utils.annotation import read_samples
from utils.augment import Augmentation
from utils.callbacks import Curves, EarlyStopping, Validation
from utils.config import Recipe
from utils.dataset import BatchStream
from utils.errors import JobError
from utils.imagesets import list_images
from utils.precision import use_precision
from utils.trainer import Trainer

CLASSES = ["cat", "dog"]
RECIPE = Recipe(epochs=3, freeze_share=0.0, batch_size=2, warmup_share=0.1, validations=3)


pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def samples(tmp_path):
    for number in range(4):
        name, box = CLASSES[number % 2], (8, 8, 40 + number, 50)
        add_image(tmp_path / "data" / "VOC2007", f"image{number}", [(name, box)])
    found, faults = read_samples(list_images(tmp_path / "data", "all"), CLASSES)
    assert len(found) == 4 and not faults
    return found


def make(samples, path, recipe=RECIPE, **options):
    keras.utils.set_random_seed(1)
    detector = Detector("mobilenetv1", 2, input_size=(64, 64), width=0.25)
    stream = BatchStream(samples, (64, 64), recipe.batch_size, 8, Augmentation(), seed=recipe.seed)
    return Trainer(detector, recipe, stream, path / "last.npz", progress=False, **options)


class At(keras.callbacks.Callback):
    """Does something when an epoch begins."""

    def __init__(self, epoch, action):
        super().__init__()
        self.epoch, self.action = epoch, action

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.action()


def weights_of(trainer):
    return [variable.numpy() for variable in trainer.detector.variables]


def norms_of(trainer):
    return {v.path: np.linalg.norm(v.numpy()) for v in trainer.detector.trainable_variables}


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_as_though_never_stopped(samples, tmp_path, monkeypatch, asked):
    monkeypatch.setattr("utils.schedule.SMALLEST", 32)
    # Mosaics and small images end just before the stop, when later batches were already asked for.
    recipe = dataclasses.replace(RECIPE, mosaic_share=0.4, small_share=0.4, small_scale=0.5)
    whole = make(samples, tmp_path, recipe)
    whole.run([])
    assert whole.step == 6  # three epochs of two steps

    stopped = make(samples, tmp_path, recipe)
    with pytest.raises(KeyboardInterrupt):
        stopped.run([At(1, lambda: os.kill(os.getpid(), asked))])
    assert stopped.step == 3  # the step under way came to its end, in the middle of an epoch

    resumed = make(samples, tmp_path, recipe)
    resumed.resume()
    assert resumed.step == 3
    resumed.run([])
    for one, other in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_a_run_that_is_killed_in_its_first_step_can_be_resumed(samples, tmp_path, monkeypatch):
    killed = make(samples, tmp_path)
    monkeypatch.setattr(killed, "make_step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        killed.run([])
    resumed = make(samples, tmp_path)
    resumed.resume()
    assert resumed.step == 0 and not resumed.history


def test_the_first_request_to_stop_is_answered(samples, tmp_path, capfd):
    trainer = make(samples, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.run([At(0, lambda: os.kill(os.getpid(), signal.SIGINT))])
    assert "stopping after this step" in capfd.readouterr().err


def test_the_second_request_stops_at_once(samples, tmp_path):
    trainer = make(samples, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.run([At(0, lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in "ab"])])
    assert trainer.step == 0


def test_a_killed_run_has_the_last_state_that_was_kept(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.trainer.SECONDS_BETWEEN_STATES", -1.0)  # after every step
    with pytest.raises(ZeroDivisionError):
        make(samples, tmp_path).run([At(2, lambda: 1 / 0)])
    resumed = make(samples, tmp_path)
    resumed.resume()
    assert resumed.step == 4


def test_a_run_follows_its_schedule(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.schedule.SMALLEST", 32)
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


@pytest.fixture
def same_scores(monkeypatch):
    """Gives every validation the same figures, without predicting anything."""
    monkeypatch.setattr("utils.callbacks.predict_samples", lambda *args, **options: None)
    scores = {"voc": {"map": 0.5}, "coco": {"map": 0.2}}
    monkeypatch.setattr("utils.callbacks.evaluate", lambda *args: scores)


@pytest.mark.usefixtures("same_scores")
def test_a_resumed_run_is_validated_when_it_would_have_been(samples, tmp_path):
    def run(trainer, *callbacks):
        best = tmp_path / "best.weights.h5"
        trainer.run([*callbacks, Validation(trainer, samples, CLASSES, best)])

    recipe = dataclasses.replace(RECIPE, validations=2)  # due from a half and from the whole on
    stopped = make(samples, tmp_path, recipe)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, At(1, lambda: os.kill(os.getpid(), signal.SIGINT)))
    resumed = make(samples, tmp_path, recipe)
    resumed.resume()
    run(resumed)
    assert [row["epoch"] for row in resumed.measured] == [2, 3]
    assert {(row["map50"], row["map"]) for row in resumed.measured} == {(0.5, 0.2)}


@pytest.mark.usefixtures("same_scores")
def test_validations_are_as_many_as_asked_for(samples, tmp_path):
    # 0.3 - 0.2 < 0.1 in floats, which must not cost a validation.
    recipe = dataclasses.replace(RECIPE, epochs=10, validations=10)
    trainer = make(samples[:2], tmp_path, recipe)
    trainer.run([Validation(trainer, samples, CLASSES, tmp_path / "best.weights.h5")])
    assert [row["epoch"] for row in trainer.measured] == [*range(1, 11)]


@pytest.mark.parametrize(("epochs", "ended"), [(3, 2), (2, 2)])
def test_an_epoch_that_was_stopped_after_its_last_step_is_ended(samples, tmp_path, epochs, ended):
    recipe = dataclasses.replace(RECIPE, epochs=epochs)
    whole = make(samples[:2], tmp_path, recipe)  # one step an epoch
    whole.run([])
    stopped = make(samples[:2], tmp_path, recipe)
    with pytest.raises(KeyboardInterrupt):
        stopped.run([At(ended - 1, lambda: os.kill(os.getpid(), signal.SIGINT))])
    assert stopped.step == ended and len(stopped.history) == ended - 1
    resumed = make(samples[:2], tmp_path, recipe)
    resumed.resume()
    resumed.run([])
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert one["epoch"] == other["epoch"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_a_run_limited_by_the_clock_goes_on_where_it_was(samples, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    recipe = dataclasses.replace(RECIPE, epochs=None, max_minutes=10.0)

    def stop():
        clock[0] = 500.0
        os.kill(os.getpid(), signal.SIGINT)

    stopped = make(samples, tmp_path, recipe, started=0.0)
    stopped.reserve(40.0)
    with pytest.raises(KeyboardInterrupt):
        stopped.run([At(0, stop)])
    clock[0] = 9e5  # days later
    resumed = make(samples, tmp_path, recipe, started=clock[0] - 100)
    resumed.resume()
    assert resumed.share == pytest.approx(0.9)


def test_a_complete_run_is_left_as_it_is(samples, tmp_path):
    trainer = make(samples, tmp_path)
    trainer.run([])
    resumed = make(samples, tmp_path)
    resumed.resume()
    begun = []
    resumed.run([At(3, lambda: begun.append(True))])
    assert not begun and resumed.step == trainer.step and resumed.history == trainer.history
    assert resumed.images_per_second == trainer.images_per_second > 0


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


def test_validation_measures_and_keeps_the_moving_average(samples, tmp_path):
    trainer = make(samples, tmp_path)
    raw = []

    class Raw(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raw.append(weights_of(trainer))

    validation = Validation(trainer, samples, CLASSES, tmp_path / "best.weights.h5")
    trainer.run([Raw(), validation, Curves(trainer, tmp_path)])
    for weight, value in zip(weights_of(trainer), raw[-1], strict=True):
        np.testing.assert_array_equal(weight, value)  # put back after measuring
    measured = [row for row in trainer.history if "map50" in row]
    assert len(measured) == 3
    kept = Detector("mobilenetv1", 2, input_size=(64, 64), width=0.25)
    kept.load_weights(tmp_path / "best.weights.h5")
    apart = [
        np.abs(mine - now.numpy()).max()
        for mine, now in zip(
            (weight.numpy() for weight in kept.trainable_variables),
            trainer.detector.trainable_variables,
            strict=True,
        )
    ]
    assert max(apart) > 0
    for name in ("history.csv", "epoch_loss.png", "epoch_map.png"):
        assert (tmp_path / name).stat().st_size > 0
    header, *rows = (tmp_path / "history.csv").read_text().splitlines()
    assert header.startswith("epoch,loss,box,objectness,class") and len(rows) == 3


def test_patience_stops_a_run_that_no_longer_improves(samples, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=20, patience=2, validations=20)
    trainer = make(samples, tmp_path, recipe)
    figures = iter([0.3, 0.5, 0.5, 0.4, 0.6])

    class Measured(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            trainer.history[-1].update(map50=next(figures), map=0.2, measured_at=trainer.share)

    trainer.run([Measured(), EarlyStopping(trainer)])
    assert [row["epoch"] for row in trainer.history] == [1, 2, 3, 4]


def stopped_after(trainer, measured):
    """The epoch after which early stopping ends a run of these mAP50, by epoch; None if none."""
    stopping = EarlyStopping(trainer)
    stopping.set_model(trainer.detector)
    trainer.detector.stop_training = False
    for epoch, map50 in measured.items():
        share = epoch / trainer.recipe.epochs
        trainer.history.append({"epoch": epoch, "map50": map50, "map": 0.2, "measured_at": share})
        stopping.on_epoch_end(epoch - 1)
        if trainer.detector.stop_training:
            return epoch
    return None


def test_patience_counts_epochs_but_waits_for_two_validations(samples, tmp_path):
    trainer = make(samples, tmp_path, dataclasses.replace(RECIPE, epochs=20, patience=3))
    assert stopped_after(trainer, {4: 0.3, 8: 0.5, 12: 0.4, 16: 0.4, 20: 0.4}) == 16


def test_patience_counts_from_when_images_have_their_full_size(samples, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=20, patience=3, small_share=0.5)
    trainer = make(samples, tmp_path, recipe)
    falling = {epoch: 0.5 - 0.01 * epoch for epoch in range(1, 21)}
    assert stopped_after(trainer, falling) == 13  # the tenth is the first at full size
    trainer.detector.stop_training = False
    trainer.run([EarlyStopping(trainer)])  # as when it is resumed
    assert trainer.step == 0


def test_without_patience_no_run_stops_early(samples, tmp_path):
    trainer = make(samples, tmp_path, dataclasses.replace(RECIPE, epochs=20, patience=None))
    assert stopped_after(trainer, dict.fromkeys(range(1, 21), 0.5)) is None


def test_the_better_map_is_the_best_and_of_equals_the_better_map50(samples, tmp_path):
    trainer = make(samples, tmp_path)
    assert trainer.best is None
    rows = [(1, 0.5, 0.1), (2, 1.0, 0.2), (3, 0.8, 0.4), (4, 0.9, 0.4), (5, 0.9, 0.4)]
    trainer.history += [{"epoch": e, "map50": m50, "map": m} for e, m50, m in rows]
    assert trainer.best["epoch"] == 4
