"""Files that cannot be written because the disk is full, or as good as full."""

import errno

import numpy as np
import pytest
from safetensors.numpy import save_file

from utils.errors import UserError, disk_failure
from utils.files import merged_whole, written_whole

resource = pytest.importorskip("resource")


@pytest.fixture
def full_disk(monkeypatch):
    """Limits the size of files, so that writes fail as on a full disk, with another number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal that the limit sends.
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (OSError("[Errno 28] (file write failed: errno = 28, error message)"), errno.ENOSPC),
        (RuntimeError("Can't decrement id ref count (errno = 27, ...)"), errno.EFBIG),
        (Exception("I/O error: Disk quota exceeded (os error 122)"), errno.EDQUOT),
        (RuntimeError("logs/events.v2; No space left on device"), errno.ENOSPC),
        (PermissionError(errno.EACCES, "Permission denied"), None),
        (ValueError("28"), None),
    ],
)
def test_a_disk_failure_is_recognized_in_errors_of_any_library(error, number):
    assert disk_failure(error) == number


def test_a_disk_failure_is_recognized_as_the_cause_of_another_error():
    with pytest.raises(ValueError, match="closed") as caught:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise ValueError("the archive is closed")  # noqa: B904
    assert disk_failure(caught.value) == errno.ENOSPC


def write_text(path):
    path.write_text("x" * 10_000)


def write_zip(path):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(10_000))


def write_tensors(path):
    save_file({"a": np.zeros(10_000)}, path)


@pytest.mark.parametrize("write", [write_text, write_zip, write_tensors])
@pytest.mark.parametrize("size", [0, 5000])
def test_an_error_of_any_writer_names_the_final_path(tmp_path, full_disk, write, size):
    path = tmp_path / "a.txt"
    full_disk(size)
    with pytest.raises(OSError, match="too large") as caught, written_whole(path) as (part,):
        write(part)
    full_disk(resource.RLIM_INFINITY)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_temporary_folder_names_the_final_path(tmp_path, full_disk):
    full_disk(0)
    path = tmp_path / "out"
    with pytest.raises(OSError, match="too large") as caught, merged_whole(path, {}) as new:
        (new / "a.txt").write_text("text")
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="No such") as caught, written_whole(path / "b") as (part,):
        part.mkdir()
        (part / "nowhere" / "c").touch()
    assert caught.value.filename == str(path / "b" / "nowhere" / "c")


def test_an_error_of_the_user_stays_one(tmp_path):
    with pytest.raises(UserError, match="damaged"), written_whole(tmp_path / "a"):
        raise UserError("a.jpg is damaged") from OSError(errno.EIO, "Input/output error", "a.jpg")


@pytest.mark.parametrize("size", [0, 1000, 9000, 12_000])
def test_weights_on_a_full_disk_leave_the_old_ones(tmp_path, full_disk, run_config, size):
    import keras

    from utils.weights_file import DetectorHeader, save_detector

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(20), keras.layers.Dense(50)])
    config = run_config
    header = DetectorHeader("a", 1.0, config.convention, config.yolo, config.input_size, 1)
    path = tmp_path / "best.weights.h5"
    save_detector(path, model, header)
    before = path.read_bytes()
    assert len(before) > 12_000
    full_disk(size)
    with pytest.raises(OSError, match="too large") as caught:
        save_detector(path, model, header)
    full_disk(resource.RLIM_INFINITY)
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before
    values = [weight.numpy() for weight in model.weights]
    for weight in model.weights:
        weight.assign(weight + 1)
    model.load_weights(path)
    for weight, value in zip(model.weights, values, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
