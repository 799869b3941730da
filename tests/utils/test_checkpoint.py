import keras
import numpy as np
import pytest

from utils.checkpoint import load_state, save_state, save_weights
from utils.errors import UserError


def make(units=3):
    keras.utils.set_random_seed(units)
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dropout(0.5)]
    )
    optimizer = keras.optimizers.Adam(use_ema=True)
    optimizer.build(model.trainable_variables)
    optimizer.apply([np.ones(v.shape, np.float32) for v in model.trainable_variables])
    return model, optimizer


def values(model, optimizer):
    return [variable.numpy() for variable in (*model.variables, *optimizer.variables)]


def test_a_state_comes_back_to_the_bit(tmp_path):
    model, optimizer = make()
    save_state(tmp_path / "last.npz", model, optimizer, {"step": 7, "history": [{"loss": 0.1}]})
    expected = values(model, optimizer)
    for variable in (*model.variables, *optimizer.variables):
        variable.assign(np.zeros(variable.shape))
    assert load_state(tmp_path / "last.npz", model, optimizer) == {
        "step": 7,
        "history": [{"loss": 0.1}],
    }
    for restored, value in zip(values(model, optimizer), expected, strict=True):
        np.testing.assert_array_equal(restored, value)


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: b"PK"])
def test_a_damaged_state_changes_nothing(tmp_path, damage):
    model, optimizer = make()
    path = tmp_path / "last.npz"
    save_state(path, model, optimizer, {})
    path.write_bytes(damage(path.read_bytes()))
    before = values(model, optimizer)
    with pytest.raises(UserError, match=r"last\.npz is damaged"):
        load_state(path, model, optimizer)
    for now, then in zip(values(model, optimizer), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_state_of_another_model_is_refused(tmp_path):
    save_state(tmp_path / "last.npz", *make(3), {})
    with pytest.raises(UserError, match="does not fit this run at model/0/"):
        load_state(tmp_path / "last.npz", *make(4))
    with pytest.raises(UserError, match="nothing to resume"):
        load_state(tmp_path / "none.npz", *make(4))


def test_a_failed_write_leaves_the_earlier_state(tmp_path, monkeypatch):
    model, optimizer = make()
    path = tmp_path / "last.npz"
    save_state(path, model, optimizer, {"step": 1})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        save_state(path, model, optimizer, {"step": 2})
    assert load_state(path, model, optimizer) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.npz"]


def test_weights_are_saved_without_the_optimizer(tmp_path):
    model, optimizer = make()
    model.optimizer = optimizer
    save_weights(model, tmp_path / "best.weights.h5")
    assert model.optimizer is optimizer
    again, _ = make(3)
    again.load_weights(tmp_path / "best.weights.h5")
    np.testing.assert_array_equal(again.layers[0].kernel, model.layers[0].kernel)
    import h5py

    with h5py.File(tmp_path / "best.weights.h5") as file:
        assert "optimizer" not in file
