import json

import pytest
import tensorflow as tf

from utils.config import Recipe
from utils.training.loss_reader import LossReader
from utils.training.progress import Progress

RECIPE = Recipe(epochs=2, batch_size=4)
LOSSES = (
    {"box": 1.0, "objectness": 2.0, "class": 3.0},
    {"box": 3.0, "objectness": 2.0, "class": 1.0},
)


def after_two_steps():
    progress = Progress(RECIPE, steps_per_epoch=3)
    for terms in LOSSES:
        progress.add_losses(terms)
        progress.add_timing(0.5)
        progress.step += 1
    return progress


def test_epoch_ends_with_the_mean_losses():
    progress = after_two_steps()
    assert progress.epoch_has_begun and progress.steps_left == 1
    logs = progress.end_epoch(learning_rate=0.1)
    means = {"loss": 6.0, "box": 2.0, "objectness": 2.0, "class": 2.0}
    assert logs == {**means, "learning_rate": 0.1, "images_per_second": 8.0}
    assert progress.history == [{"epoch": 1, **logs}]
    assert not progress.epoch_has_begun and progress.epoch == 1


def test_restored_progress_continues_within_the_epoch(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    progress = after_two_steps()
    clock[0] = 130.0
    document = json.loads(json.dumps(progress.to_json()))
    clock[0] = 9e5
    restored = Progress(RECIPE, steps_per_epoch=3)
    restored.restore(document)
    assert restored.to_json() == document
    assert restored.seconds == 30.0
    assert restored.share == pytest.approx(2 / 6)
    assert restored.mean_losses == progress.mean_losses


def test_run_is_complete_only_after_the_end_of_its_last_epoch():
    progress = after_two_steps()
    progress.step = 6
    assert progress.share == 1.0 and not progress.is_complete
    progress.end_epoch(learning_rate=0.1)
    assert progress.is_complete


def test_run_whose_time_passes_after_an_epoch_is_complete_after_another_one():
    def restored(document, minutes):
        recipe = Recipe(epochs=None, max_minutes=minutes)
        progress = Progress(recipe, steps_per_epoch=3, clock=lambda: 0.0)
        progress.restore(json.loads(json.dumps(document)))
        return progress

    seconds = [0.0]
    progress = Progress(Recipe(epochs=None, max_minutes=1.0), 3, 0.0, lambda: seconds[0])
    progress.end_epoch(learning_rate=0.1)
    seconds[0] = 60.0
    for each in (progress, restored(progress.to_json(), 1.0)):
        assert each.share == 1.0 and not each.is_complete
    progress.end_epoch(learning_rate=0.1)
    assert progress.is_complete
    document = progress.to_json()
    assert restored(document, 1.0).is_complete
    assert not restored(document, 2.0).is_complete
    del document["share_at_end"]  # as in earlier versions
    assert not restored(document, 1.0).is_complete
    document["history"][-1].update({"map50": 0.5, "map": 0.5})
    assert restored(document, 1.0).is_complete


def test_steps_of_an_epoch_after_one_that_was_cut_short():
    progress = after_two_steps()  # of three
    progress.end_epoch(learning_rate=0.1)
    assert (progress.steps_done, progress.steps_left) == (0, 4)
    progress.add_skipped()
    progress.step += 1
    assert (progress.steps_done, progress.steps_left) == (1, 3)


def test_losses_are_read_after_the_next_step_was_started():
    received = []
    reader = LossReader(lambda step, terms: received.append((step, terms)))
    reader.put(0, {"box": tf.constant(0.5)})
    assert received == []
    reader.put(1, {"box": tf.constant(0.25)})
    assert received == [(0, {"box": 0.5})]
    reader.flush()
    reader.flush()
    assert received == [(0, {"box": 0.5}), (1, {"box": 0.25})]
