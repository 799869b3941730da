import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from nets.detector import Detector
from tests.tiny_run import (
    CLASSES,
    RECIPE,
    CallAtEpoch,
    interrupt,
    make_trainer,
    resume_trainer,
    weights_of,
)
from utils.errors import JobError
from utils.run import RunDirectory
from utils.training.callbacks import Curves, EarlyStopping
from utils.training.validation import Validation
from utils.training.validation_pass import ValidationPass

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def same_scores(monkeypatch):
    """Makes every validation return the same metrics, without any prediction."""
    monkeypatch.setattr(ValidationPass, "measure", lambda *args: (None, {}))
    evaluation = SimpleNamespace(metrics={"voc": {"map": 0.5}, "coco": {"map": 0.2}})
    monkeypatch.setattr("utils.training.validation.evaluate", lambda *args: evaluation)


@pytest.mark.usefixtures("same_scores")
def test_resumed_run_is_validated_after_the_same_epochs(samples, tmp_path):
    def run(trainer, *callbacks):
        validation = Validation(trainer, samples, CLASSES, RunDirectory(tmp_path))
        trainer.run([*callbacks, validation])

    recipe = dataclasses.replace(
        RECIPE, validations=2
    )  # due after half of the run and after all of it
    stopped = make_trainer(samples, tmp_path, recipe)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, CallAtEpoch(1, interrupt))
    resumed = resume_trainer(samples, tmp_path, recipe)
    run(resumed)
    assert [row["epoch"] for row in resumed.progress.validated] == [2, 3]
    assert {(row["map50"], row["map"]) for row in resumed.progress.validated} == {(0.5, 0.2)}


def test_a_validation_that_fails_is_repeated_after_resuming(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.data.reading.PAUSES", ())
    recipe = dataclasses.replace(RECIPE, epochs=1, validations=1)

    def run(trainer):
        trainer.run([Validation(trainer, samples[:2], CLASSES, RunDirectory(tmp_path))])

    image = samples[1].image
    content = image.read_bytes()
    failed = make_trainer(samples, tmp_path, recipe)
    remove = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: image.unlink())
    validation = Validation(failed, samples[:2], CLASSES, RunDirectory(tmp_path))
    with pytest.raises(JobError, match=rf"state is saved: cannot read image {image}: no such file"):
        failed.run([remove, validation])
    image.write_bytes(content)
    resumed = resume_trainer(samples, tmp_path, recipe)
    assert resumed.progress.step == 2
    run(resumed)
    assert [row["epoch"] for row in resumed.progress.validated] == [1]


def test_validation_measures_and_saves_the_moving_average(samples, tmp_path):
    trainer = make_trainer(samples, tmp_path)
    raw = []

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raw.append(weights_of(trainer))

    validation = Validation(trainer, samples, CLASSES, RunDirectory(tmp_path))
    trainer.run([Record(), validation, Curves(trainer.progress, RunDirectory(tmp_path))])
    for weight, value in zip(weights_of(trainer), raw[-1], strict=True):
        np.testing.assert_array_equal(weight, value)  # restored after the validation
    measured = [row for row in trainer.progress.history if "map50" in row]
    assert len(measured) == 3
    saved = Detector("mobilenetv1", 2, "v4-tiny", (64, 64), width=0.25)
    saved.load_weights(tmp_path / "best.weights.h5")
    differences = [
        np.abs(weight - now.numpy()).max()
        for weight, now in zip(
            (weight.numpy() for weight in saved.trainable_variables),
            trainer.detector.trainable_variables,
            strict=True,
        )
    ]
    assert max(differences) > 0
    for name in ("history.csv", "epoch_loss.png", "epoch_map.png"):
        assert (tmp_path / name).stat().st_size > 0
    header, *rows = (tmp_path / "history.csv").read_text().splitlines()
    assert header.startswith("epoch,loss,box,objectness,class") and len(rows) == 3
    assert "val_loss,val_box,val_objectness,val_class" in header


def test_run_without_improvement_stops_after_patience(samples, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=20, patience=2, validations=20)
    trainer = make_trainer(samples, tmp_path, recipe)
    map50_values = iter([0.3, 0.5, 0.5, 0.4, 0.6])

    class FakeValidation(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            trainer.progress.history[-1].update(
                map50=next(map50_values), map=0.2, measured_at=trainer.progress.share
            )

    trainer.run([FakeValidation(), EarlyStopping(trainer.progress)])
    assert [row["epoch"] for row in trainer.progress.history] == [1, 2, 3, 4]


def stopped_after(trainer, map50_by_epoch):
    """Returns the epoch after which a run with these mAP50 per epoch stops early, or None."""
    stopping = EarlyStopping(trainer.progress)
    stopping.set_model(trainer.detector)
    trainer.detector.stop_training = False
    for epoch, map50 in map50_by_epoch.items():
        share = epoch / trainer.recipe.epochs
        trainer.progress.history.append(
            {"epoch": epoch, "map50": map50, "map": 0.2, "measured_at": share}
        )
        stopping.on_epoch_end(epoch - 1)
        if trainer.detector.stop_training:
            return epoch
    return None


def test_patience_waits_for_two_validations(samples, tmp_path):
    trainer = make_trainer(samples, tmp_path, dataclasses.replace(RECIPE, epochs=20, patience=3))
    assert stopped_after(trainer, {4: 0.3, 8: 0.5, 12: 0.4, 16: 0.4, 20: 0.4}) == 16


def test_patience_counts_from_the_first_validation_at_full_size(samples, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=20, patience=3, small_share=0.5)
    trainer = make_trainer(samples, tmp_path, recipe)
    decreasing = {epoch: 0.5 - 0.01 * epoch for epoch in range(1, 21)}
    assert stopped_after(trainer, decreasing) == 13  # epoch 10 is the first at full image size
    trainer.detector.stop_training = False
    trainer.run([EarlyStopping(trainer.progress)])  # as if the run was resumed
    assert trainer.progress.step == 0


def test_without_patience_no_run_stops_early(samples, tmp_path):
    trainer = make_trainer(samples, tmp_path, dataclasses.replace(RECIPE, epochs=20, patience=None))
    assert stopped_after(trainer, dict.fromkeys(range(1, 21), 0.5)) is None


def test_best_validation_is_by_map_then_by_map50(samples, tmp_path):
    trainer = make_trainer(samples, tmp_path)
    assert trainer.progress.best is None
    rows = [(1, 0.5, 0.1), (2, 1.0, 0.2), (3, 0.8, 0.4), (4, 0.9, 0.4), (5, 0.9, 0.4)]
    trainer.progress.history += [{"epoch": e, "map50": m50, "map": m} for e, m50, m in rows]
    assert trainer.progress.best["epoch"] == 4
