import dataclasses

import keras
import numpy as np
import pytest

from nets.detector import Detector
from tests.tiny_run import CLASSES, RECIPE, At, interrupt, make, weights_of
from utils.training.callbacks import Curves, EarlyStopping, Validation

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def same_scores(monkeypatch):
    """Gives every validation the same figures, without predicting anything."""
    monkeypatch.setattr("utils.training.callbacks.predict_samples", lambda *args, **options: None)
    scores = {"voc": {"map": 0.5}, "coco": {"map": 0.2}}
    monkeypatch.setattr("utils.training.callbacks.evaluate", lambda *args: scores)


@pytest.mark.usefixtures("same_scores")
def test_a_resumed_run_is_validated_when_it_would_have_been(samples, tmp_path):
    def run(trainer, *callbacks):
        best = tmp_path / "best.weights.h5"
        trainer.run([*callbacks, Validation(trainer, samples, CLASSES, best)])

    recipe = dataclasses.replace(RECIPE, validations=2)  # due from a half and from the whole on
    stopped = make(samples, tmp_path, recipe)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, At(1, interrupt))
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
