import dataclasses
import json
from types import SimpleNamespace

import pytest

from utils.config import Recipe
from utils.errors import UserError
from utils.training.callbacks import EarlyStopping
from utils.training.extension import extend
from utils.training.progress import Progress
from utils.training.schedule import is_frozen
from utils.training.settings import ResumeSettings


def progress_after(recipe, epochs, seconds=0.0, reserved=0.0):
    """Returns the progress in the state of a run with ten steps per epoch."""
    progress = Progress(recipe, steps_per_epoch=10, started=0.0, clock=lambda: seconds)
    progress.step = round(10 * epochs)
    progress.history = [{"epoch": epoch + 1} for epoch in range(int(epochs))]
    progress.budget.reserved = reserved
    return progress.to_json()


def extended(recipe, epochs_done=0, seconds=0.0, reserved=0.0, **limits):
    progress = progress_after(recipe, epochs_done, seconds, reserved)
    return extend(recipe, progress, ResumeSettings("run", **limits))


def test_backbone_is_not_frozen_again():
    recipe = Recipe(epochs=100, freeze_share=0.1)
    longer = extended(recipe, 100, epochs=400)
    assert longer == dataclasses.replace(
        recipe, epochs=400, freeze_share=0.025, patience_from=100
    )  # 10 of 400 epochs
    assert extended(longer, 100, epochs=400) == longer  # as another worker may read it
    assert extended(recipe, 20, epochs=50).freeze_share == 0.1


@pytest.mark.parametrize(
    ("recipe", "epochs", "seconds", "limits"),
    [
        (Recipe(epochs=15, freeze_share=0.1), 1.7, 0.0, {"epochs": 30}),
        (Recipe(epochs=2, freeze_share=0.1), 0.3, 0.0, {"epochs": 4}),
        (Recipe(epochs=9, freeze_share=3 / 9), 3, 0.0, {"epochs": 14}),  # floats exceed 3 / 14
        # 59 of 495 s, without the time for the last validation; 59 of 600 s are less than a tenth.
        (Recipe(epochs=None, max_minutes=10.0), 4.2, 59.0, {"max_minutes": 20.0}),
    ],
)
def test_backbone_is_not_frozen_again_within_an_epoch(recipe, epochs, seconds, limits):
    progress = progress_after(recipe, epochs, seconds, reserved=105.0)
    settings = ResumeSettings("run", **limits)
    longer = extend(recipe, progress, settings)
    resumed = Progress(longer, steps_per_epoch=10, clock=lambda: 0.0)
    resumed.restore(progress)
    assert longer.freeze_share > 0 and not is_frozen(longer, resumed.share)
    assert extend(longer, progress, settings) == longer  # if it was killed before its next state


def test_state_of_an_earlier_version_is_extended_by_whole_epochs():
    recipe = Recipe(epochs=10, freeze_share=0.1)
    progress = progress_after(recipe, 2.5)
    del progress["epochs"]
    assert extend(recipe, progress, ResumeSettings("run", epochs=20)).freeze_share == 0.05


def test_backbone_that_is_still_frozen_stays_so_for_its_share():
    assert extended(Recipe(epochs=100, freeze_share=0.1), 5, epochs=200).freeze_share == 0.1
    assert extended(Recipe(epochs=100, freeze_share=0.0), 0, epochs=200).freeze_share == 0.0


def test_time_limit_is_extended():
    recipe = Recipe(epochs=None, max_minutes=10.0, freeze_share=0.1, patience=None)
    longer = extended(recipe, 7, seconds=600.0, max_minutes=40.0)
    assert (longer.max_minutes, longer.freeze_share, longer.epochs) == (40.0, 0.025, None)


@pytest.mark.parametrize(
    ("limits", "recipe", "message"),
    [
        ({"epochs": 7}, Recipe(epochs=7), "set --epochs to more than 7"),
        ({"epochs": 9}, Recipe(epochs=None, max_minutes=10.0), "extend it with --max-minutes"),
        ({"max_minutes": 60.0}, Recipe(epochs=9), "extend it with --epochs"),
        ({"max_minutes": 9.0}, Recipe(epochs=None, max_minutes=10.0), "taken 10.0 minutes"),
        ({"epochs": 9}, Recipe(epochs=7, max_minutes=10.0), "set --max-minutes to more"),
        ({"max_minutes": 60.0}, Recipe(epochs=7, max_minutes=10.0), "set --epochs to more"),
    ],
)
def test_limits_that_leave_nothing_to_do_are_errors(limits, recipe, message):
    with pytest.raises(UserError, match=message):
        extended(recipe, 7, seconds=600.0, **limits)


def test_time_for_the_last_validation_is_not_time_to_train():
    recipe = Recipe(epochs=None, max_minutes=10.0, freeze_share=0.0)
    message = r"10\.0 minutes and reserves 0\.5 for its last validation.* more than 10\.5"
    with pytest.raises(UserError, match=message):
        extended(recipe, 7, seconds=600.0, reserved=30.0, max_minutes=10.4)
    assert extended(recipe, 7, seconds=600.0, reserved=30.0, max_minutes=10.6).max_minutes == 10.6


def test_validations_keep_their_place_in_the_history():
    def restored(before, after, *history):
        progress, extended = (Progress(recipe, steps_per_epoch=2) for recipe in (before, after))
        progress.history = [*history]
        for _ in range(2):  # in the second session, nothing changes any more
            extended.restore(json.loads(json.dumps(progress.to_json())))
            progress = extended
        return [row.get("measured_at") for row in extended.history]

    rows = {"epoch": 1}, {"epoch": 2, "measured_at": 0.5}, {"epoch": 4, "measured_at": 1.0}
    assert restored(Recipe(epochs=4), Recipe(epochs=8), *rows) == [None, 0.25, 0.5]
    before, after = (Recipe(epochs=None, max_minutes=minutes) for minutes in (10.0, 25.0))
    assert restored(before, after, {"epoch": 2, "measured_at": 0.5}) == [0.2]


def test_patience_is_counted_from_the_extension():
    progress = Progress(Recipe(epochs=100, patience=5, patience_from=12), steps_per_epoch=2)
    stopping, model = EarlyStopping(progress), SimpleNamespace(stop_training=False)
    stopping.set_model(model)
    for epoch in range(1, 21):
        row = {"epoch": epoch, "map50": 1 / epoch, "map": 1 / epoch, "measured_at": epoch / 100}
        progress.history.append(row)
        stopping.on_train_begin()
        assert model.stop_training == (epoch >= 17)  # nothing was better than epoch 1
