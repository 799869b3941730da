import keras
import numpy as np
import pytest

from utils.errors import UserError
from utils.training.checkpoint import (
    collect_state,
    find_state,
    load_state,
    write_state,
)


def make_model(units=3):
    keras.utils.set_random_seed(units)
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dropout(0.5)]
    )
    optimizer = keras.optimizers.Adam(use_ema=True)
    optimizer.build(model.trainable_variables)
    optimizer.apply([np.ones(v.shape, np.float32) for v in model.trainable_variables])
    return model, optimizer


def make_variables(units=3):
    model, optimizer = make_model(units)
    return {"model": model.variables, "optimizer": optimizer.variables}


def save_state(path, variables, progress):
    write_state(path, collect_state(path, variables, progress))


def values(variables):
    return [variable.numpy() for owned in variables.values() for variable in owned]


def test_state_is_restored_exactly(tmp_path):
    variables, progress = make_variables(), {"step": 7, "history": [{"epoch": 1, "loss": 0.1}]}
    save_state(tmp_path / "last.npz", variables, progress)
    expected = values(variables)
    for variable in (*variables["model"], *variables["optimizer"]):
        variable.assign(np.zeros(variable.shape))
    assert load_state(tmp_path / "last.npz", variables, {}) == progress
    for value, original in zip(values(variables), expected, strict=True):
        np.testing.assert_array_equal(value, original)


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: b"PK"])
def test_damaged_state_changes_nothing(tmp_path, damage):
    variables = make_variables()
    path = tmp_path / "last.npz"
    save_state(path, variables, {"history": []})
    path.write_bytes(damage(path.read_bytes()))
    before = values(variables)
    with pytest.raises(UserError, match=r"last\.npz is damaged"):
        load_state(path, variables, {})
    for value, expected in zip(values(variables), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_state_of_another_model_is_rejected(tmp_path):
    save_state(tmp_path / "last.npz", make_variables(3), {"history": []})
    with pytest.raises(UserError, match="does not fit this run at model/0/"):
        load_state(tmp_path / "last.npz", make_variables(4), {})
    with pytest.raises(UserError, match="nothing to resume"):
        load_state(tmp_path / "none.npz", make_variables(4), {})


def test_failed_write_keeps_the_earlier_state(tmp_path, monkeypatch):
    variables = make_variables()
    path = tmp_path / "last.npz"
    save_state(path, variables, {"step": 1, "history": []})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        save_state(path, variables, {"step": 2, "history": []})
    assert load_state(path, variables, {}) == {"step": 1, "history": []}
    assert [file.name for file in tmp_path.iterdir()] == ["last.npz"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_the_state_before_replaces_a_damaged_or_missing_one(tmp_path, capsys):
    variables, path = make_variables(), tmp_path / "last.npz"
    assert find_state(path) is None
    for step in (1, 2, 3):
        save_state(path, variables, {"step": step, "history": []})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.npz", "previous.npz"]
    progress = {"step": 3, "history": []}
    assert find_state(path) == (path, progress) and not capsys.readouterr().err
    cut(path)
    previous, progress = find_state(path)
    assert progress["step"] == 2
    (warning,) = capsys.readouterr().err.splitlines()
    assert "last.npz is damaged (" in warning
    assert f"continuing from {previous}, step 2" in warning and "start a new run" not in warning
    path.unlink()  # killed between the two renames
    assert find_state(path) == (previous, progress)
    assert f"{path} is missing; continuing from {previous}" in capsys.readouterr().err


def test_two_damaged_states_are_an_error_that_names_the_last(tmp_path):
    variables, path = make_variables(), tmp_path / "last.npz"
    for _ in range(2):
        save_state(path, variables, {"history": []})
    for file in tmp_path.iterdir():
        cut(file)
    with pytest.raises(UserError, match=r"last\.npz is damaged .*start a new run"):
        find_state(path)


def test_a_collected_state_does_not_change_with_its_variables(tmp_path):
    variables, path = make_variables(), tmp_path / "last.npz"
    expected = values(variables)
    state = collect_state(path, variables, {"history": []})
    for variable in (*variables["model"], *variables["optimizer"]):
        variable.assign_add(np.ones(variable.shape, variable.dtype))
    write_state(path, state)
    load_state(path, variables, {})
    for value, original in zip(values(variables), expected, strict=True):
        np.testing.assert_array_equal(value, original)


def spoil(path, change):
    """Applies a change to the arrays of a state."""
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def set_progress(text):
    return lambda arrays: arrays.update(progress=np.array(text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("progress"), "it has no progress"),
        (set_progress("{"), "its progress is not JSON"),
        (set_progress("[1]"), "its progress has no history"),
        (set_progress('{"step": 1, "history": [7]}'), "its progress has no history"),
        (set_progress('{"history": [], "sums": {"box": 0}}'), "its progress lacks 'step'"),
        (set_progress('{"step": 1, "history": [], "sums": {}}'), "its progress lacks 'box'"),
        (set_progress('{"step": "1", "history": []}'), "its progress has '1' instead of 0"),
        (set_progress('{"step": NaN, "history": []}'), "its progress contains NaN"),
        (lambda arrays: next(a for a in arrays.values() if a.dtype == "f4").fill(np.nan), "finite"),
    ],
)
def test_spoiled_state_changes_nothing(tmp_path, change, message):
    variables, path = make_variables(), tmp_path / "last.npz"
    like = {"step": 0, "history": [], "sums": {"box": 0.0}}
    save_state(path, variables, like | {"sums": {"box": 1}})
    load_state(path, variables, like)
    before = values(variables)
    spoil(path, change)
    with pytest.raises(UserError, match=r"last\.npz is damaged") as raised:
        load_state(path, variables, like)
    assert message in str(raised.value)
    for value, expected in zip(values(variables), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_no_flipped_byte_is_another_error(tmp_path):
    variables, path = make_variables(), tmp_path / "last.npz"
    save_state(path, variables, {"history": []})
    data = path.read_bytes()
    for place in range(0, len(data), 13):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            load_state(path, variables, {"history": []})
        except UserError as error:
            assert "last.npz" in str(error)


def test_array_that_is_no_archive_is_damaged(tmp_path):
    with (tmp_path / "last.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match=r"last\.npz is damaged"):
        find_state(tmp_path / "last.npz")
