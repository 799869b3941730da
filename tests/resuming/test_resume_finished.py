"""A finished run, and a run that is extended."""

import csv
import json

import numpy as np
import pytest

from tests.resuming.conftest import FLAGS
from utils.training.checkpoint import find_state, write_state
from utils.weights.tensorfiles import read_h5


def learning_rates(place):
    with (place.run.path / "history.csv").open(newline="") as file:
        return [float(row["learning_rate"]) for row in csv.DictReader(file)]


def test_finished_run_is_reported_and_not_changed(place):
    before = place.contents()
    code, out, err = place.resume()
    assert code == 0 and err == ""
    assert "run is finished after epoch 2: best mAP50 on validation 0." in out
    assert "python train.py --resume run --epochs N (more than 2)" in out
    assert place.contents() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--epochs", "2"), "2 epochs of the run are done, set --epochs to more than 2"),
        (("--max-minutes", "5"), "no time limit, extend it with --epochs"),
        (("--epochs", "9", "--lr", "0.1"), "--lr cannot be used with --resume"),
    ],
)
def test_run_is_not_extended_by_other_limits(place, flags, message):
    before = place.contents()
    code, _, err = place.resume(*flags)
    assert code == 2 and message in err.splitlines()[-1]
    assert place.contents() == before


def test_finished_run_is_extended(place):
    code, _, err = place.resume("--epochs", "3")
    assert code == 0, err
    assert "at step 4" in err
    result = json.loads(place.run.result.read_text())
    assert result["epochs"] == 3
    config = json.loads((place.run.path / "config.json").read_text())
    assert (config["recipe"]["epochs"], config["recipe"]["patience_from"]) == (3, 2)
    # Cosine at the last step of each epoch: steps 1 and 3 of 4 at first, then 5 of 6.
    shares = np.array([1 / 4, 3 / 4, 5 / 6])
    expected = 1e-3 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * shares)))
    np.testing.assert_allclose(learning_rates(place), expected, rtol=1e-6)
    rows = find_state(place.run.state)[1]["history"]
    assert [row["measured_at"] for row in rows if "measured_at" in row] == [1 / 3, 2 / 3, 1]


def test_damaged_state_is_replaced_by_the_one_before(place):
    state = place.run.state
    step = find_state(state)[1]["step"]
    state.write_bytes(state.read_bytes()[:-100])
    (place.run.path / ".part.last.npz").write_bytes(b"half")
    code, _, err = place.resume("--epochs", "3")
    assert code == 0, err
    assert "warning: run/last.npz is damaged" in err and "from run/previous.npz, step" in err
    assert find_state(state)[1]["step"] == step + 2
    assert not list(place.run.path.glob(".part*"))


def test_states_that_were_removed_are_not_replaced_by_a_new_start(place):
    place.run.state.unlink()
    (place.run.path / "previous.npz").unlink()
    before = place.contents()
    code, _, err = place.resume("--epochs", "4")
    assert code == 2 and "has no last.npz" in err and "--weights run/best.weights.h5" in err
    assert place.contents() == before


@pytest.mark.parametrize(
    ("file", "change", "value"),
    [
        ("classes.txt", lambda text: "dog\ncat\n", "classes[0] is 'cat'"),
        ("anchors.txt", lambda text: text.replace("1", "2"), "yolo.anchors"),
    ],
)
def test_description_that_contradicts_the_weights_is_refused(place, file, change, value):
    path = place.run.path / file
    path.write_text(change(path.read_text()))
    before = place.contents()
    code, _, err = place.resume("--epochs", "3")
    assert code == 2 and f"contradicts the other files of its run: {value}" in err.splitlines()[-1]
    assert place.contents() == before


@pytest.mark.parametrize("best", [1, 2])
def test_best_weights_that_were_removed(place, best):
    arrays = dict(np.load(place.run.state))
    progress = json.loads(str(arrays["progress"]))
    progress["history"][best - 1] |= {"map": 1.0, "map50": 1.0}
    write_state(place.run.state, arrays | {"progress": np.array(json.dumps(progress))})
    place.run.best_weights.unlink()
    before = place.contents()
    code, _, err = place.resume("--epochs", "3")
    if best == 2:  # the state still has them
        assert code == 0 and place.run.best_weights.is_file(), err
    else:
        assert code == 2 and "run/best.weights.h5 is missing, with the weights after epoch 1" in err
        assert place.contents() == before


def test_damaged_result_is_an_error(place):
    place.run.result.write_text('{"epochs": 2}')
    code, _, err = place.resume()
    assert code == 2 and "result.json is damaged" in err.splitlines()[-1]


def test_moving_average_of_every_epoch_is_saved(place):
    names = sorted(path.name for path in place.run.path.glob("epoch-*"))
    assert names == ["epoch-001.weights.h5", "epoch-002.weights.h5"]
    best = json.loads(place.run.result.read_text())["best_epoch"]  # validated after each epoch
    saved = read_h5(place.run.epoch_weights(best))
    for key, (_, values) in read_h5(place.run.best_weights).items():
        np.testing.assert_array_equal(saved[key][1], values)


def test_weights_of_an_epoch_can_be_trained_further(place, sessions):
    weights = place.run.epoch_weights(1)
    code, _, err = place.train("--data", place.data, "--run", "b", *FLAGS, "--weights", weights)
    assert code == 0, err
    ((session, _),) = sessions
    assert session.config.weights == str(weights) and session.weights.tensors
