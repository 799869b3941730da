import dataclasses

import numpy as np
import pytest

from tests.tiny_run import RECIPE, CallAtEpoch, interrupt, make_trainer, resume_trainer, weights_of
from utils.training.progress import OPTIONAL, Progress

pytestmark = pytest.mark.usefixtures("eagerly")


def test_resumed_run_equals_an_uninterrupted_one(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.training.schedule.MIN_TRAINING_SIDE", 32)
    # Mosaics and small images end just before the stop, when later batches are already prepared.
    recipe = dataclasses.replace(RECIPE, mosaic_share=0.4, small_share=0.4, small_scale=0.5)
    whole = make_trainer(samples, tmp_path, recipe)
    whole.run([])
    assert whole.progress.step == 6  # three epochs of two steps

    stopped = make_trainer(samples, tmp_path, recipe)
    with pytest.raises(KeyboardInterrupt):
        stopped.run([CallAtEpoch(1, interrupt)])
    assert stopped.progress.step == 3  # the current step, in the middle of an epoch, was completed

    resumed = resume_trainer(samples, tmp_path, recipe)
    assert resumed.progress.step == 3
    resumed.run([])
    for one, other in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(whole.progress.history, resumed.progress.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_run_killed_in_its_first_step_can_be_resumed(samples, tmp_path, monkeypatch):
    killed = make_trainer(samples, tmp_path)
    monkeypatch.setattr(killed, "make_step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        killed.run([])
    resumed = resume_trainer(samples, tmp_path)
    assert resumed.progress.step == 0 and not resumed.progress.history


def test_second_signal_stops_immediately(samples, tmp_path):
    trainer = make_trainer(samples, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.run([CallAtEpoch(0, lambda: [interrupt() for _ in "ab"])])
    assert trainer.progress.step == 0


def test_killed_run_resumes_from_the_last_saved_state(samples, tmp_path):
    recipe = dataclasses.replace(RECIPE, save_minutes=1e-9)  # after every step
    with pytest.raises(ZeroDivisionError):
        make_trainer(samples, tmp_path, recipe).run([CallAtEpoch(2, lambda: 1 / 0)])
    resumed = resume_trainer(samples, tmp_path)
    assert resumed.progress.step == 4


@pytest.mark.parametrize(("epochs", "ended"), [(3, 2), (2, 2)])
def test_epoch_stopped_after_its_last_step_is_completed(samples, tmp_path, epochs, ended):
    recipe = dataclasses.replace(RECIPE, epochs=epochs)
    whole = make_trainer(samples[:2], tmp_path, recipe)  # one step per epoch
    whole.run([])
    stopped = make_trainer(samples[:2], tmp_path, recipe)
    with pytest.raises(KeyboardInterrupt):
        stopped.run([CallAtEpoch(ended - 1, interrupt)])
    assert stopped.progress.step == ended and len(stopped.progress.history) == ended - 1
    resumed = resume_trainer(samples[:2], tmp_path, recipe)
    resumed.run([])
    for one, other in zip(whole.progress.history, resumed.progress.history, strict=True):
        assert one["epoch"] == other["epoch"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_run_with_a_time_limit_resumes_at_the_same_share(samples, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    recipe = dataclasses.replace(RECIPE, epochs=None, max_minutes=10.0)

    def stop():
        clock[0] = 320.0
        interrupt()

    clock[0] = 40.0  # preparing took 40 s
    stopped = make_trainer(samples, tmp_path, recipe, started=0.0)
    stopped.progress.budget.reserved = 60.0  # training from second 40 to 540
    with pytest.raises(KeyboardInterrupt):
        stopped.run([CallAtEpoch(0, stop)])
    assert stopped.progress.share == pytest.approx(280 / 500)
    clock[0] = 9e5  # days later
    resumed = resume_trainer(samples, tmp_path, recipe, started=clock[0] - 100)
    assert resumed.progress.share == pytest.approx(280 / 500)
    clock[0] += 110
    assert resumed.progress.share == pytest.approx(390 / 500)


def test_state_of_an_earlier_version_is_resumed(samples, tmp_path, monkeypatch):
    to_json = Progress.to_json

    def earlier(progress):
        return {key: value for key, value in to_json(progress).items() if key not in OPTIONAL}

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "to_json", earlier)
        trainer = make_trainer(samples, tmp_path)
        trainer.progress.step = 1
        trainer.save()
    assert resume_trainer(samples, tmp_path).progress.step == 1


def test_resuming_a_complete_run_changes_nothing(samples, tmp_path):
    trainer = make_trainer(samples, tmp_path)
    trainer.run([])
    resumed = resume_trainer(samples, tmp_path)
    started = []
    resumed.run([CallAtEpoch(3, lambda: started.append(True))])
    assert (
        not started
        and resumed.progress.step == trainer.progress.step
        and resumed.progress.history == trainer.progress.history
    )
    assert resumed.progress.images_per_second == trainer.progress.images_per_second > 0
