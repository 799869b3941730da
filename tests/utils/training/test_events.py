import errno

import keras
import pytest

from utils.training.events import Events

resource = pytest.importorskip("resource")


@pytest.fixture
def events(tmp_path):
    callback = Events(tmp_path, write_graph=False)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD())
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def test_a_full_disk_is_a_warning(events, tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # Python ignores its signal
    try:
        for epoch in range(20):  # TensorFlow keeps ten events in memory
            events.on_epoch_end(epoch, {"loss": 1.0})
        events.on_train_end()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    warning = f"warning: {tmp_path}: TensorBoard events are lost, file too large\n"
    assert capsys.readouterr().err == warning


def test_other_errors_are_raised(events, monkeypatch):
    def deny(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(keras.callbacks.TensorBoard, "on_epoch_end", deny)
    with pytest.raises(PermissionError):
        events.on_epoch_end(0, {"loss": 1.0})
    events.on_train_end()
