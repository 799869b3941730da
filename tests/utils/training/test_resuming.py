import dataclasses
import os
import signal

import numpy as np
import pytest

from tests.tiny_run import RECIPE, At, interrupt, make, weights_of

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_as_though_never_stopped(samples, tmp_path, monkeypatch, asked):
    monkeypatch.setattr("utils.training.schedule.SMALLEST", 32)
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
        trainer.run([At(0, interrupt)])
    assert "stopping after this step" in capfd.readouterr().err


def test_the_second_request_stops_at_once(samples, tmp_path):
    trainer = make(samples, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.run([At(0, lambda: [interrupt() for _ in "ab"])])
    assert trainer.step == 0


def test_a_killed_run_has_the_last_state_that_was_kept(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.training.trainer.SECONDS_BETWEEN_STATES", -1.0)  # after every step
    with pytest.raises(ZeroDivisionError):
        make(samples, tmp_path).run([At(2, lambda: 1 / 0)])
    resumed = make(samples, tmp_path)
    resumed.resume()
    assert resumed.step == 4


@pytest.mark.parametrize(("epochs", "ended"), [(3, 2), (2, 2)])
def test_an_epoch_that_was_stopped_after_its_last_step_is_ended(samples, tmp_path, epochs, ended):
    recipe = dataclasses.replace(RECIPE, epochs=epochs)
    whole = make(samples[:2], tmp_path, recipe)  # one step an epoch
    whole.run([])
    stopped = make(samples[:2], tmp_path, recipe)
    with pytest.raises(KeyboardInterrupt):
        stopped.run([At(ended - 1, interrupt)])
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
        interrupt()

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
