"""HDF5 files whose values are elsewhere, as in the attack CVE-2026-1669 on Keras."""

import h5py
import numpy as np
import pytest

from utils.errors import UserError
from utils.weights.tensorfiles import read_h5
from utils.weights_file import read_detector

GROUP = "layers/dense/vars"


def external_storage(group, tmp_path):
    (tmp_path / "secret").write_bytes(b"password")
    group.create_dataset("0", (2,), "f4", external=[(tmp_path / "secret", 0, 8)])


def external_link(group, tmp_path):
    group["0"] = h5py.ExternalLink(other_file(tmp_path), "x")


def virtual_dataset(group, tmp_path):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(other_file(tmp_path), "x", (3,))
    group.create_virtual_dataset("0", layout)


def other_file(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones(3, np.float32)
    return tmp_path / "other.h5"


ELSEWHERE = (external_storage, external_link, virtual_dataset)


@pytest.mark.parametrize("add", ELSEWHERE, ids=lambda add: add.__name__)
def test_values_of_other_files_are_refused(tmp_path, add):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        add(file.create_group(GROUP), tmp_path)
    with pytest.raises(UserError, match=r"a\.weights\.h5 is damaged \(.* in another file"):
        read_detector(path)


@pytest.mark.parametrize("add", ELSEWHERE, ids=lambda add: add.__name__)
def test_values_of_other_files_are_refused_in_files_of_keras_2(tmp_path, add):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = ["0"]
        add(group, tmp_path)
    with pytest.raises(UserError, match=r"a\.h5 is damaged \(.* in another file"):
        read_h5(path)


def test_shape_without_values_is_refused_before_memory_is_reserved(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group(GROUP).create_dataset("0", (10**7, 10**7), "f4", chunks=(10, 10))
    with pytest.raises(UserError, match=r"fewer values than its shape \(10000000, 10000000\)"):
        read_detector(path)


def test_compressed_values_are_read(tmp_path):
    path = tmp_path / "a.weights.h5"
    zeros = np.zeros(10**6, np.float32)
    with h5py.File(path, "w") as file:
        file.create_group(GROUP).create_dataset("0", data=zeros, compression=9, chunks=(10**5,))
    [(_, values)] = read_detector(path)[1].values()
    np.testing.assert_array_equal(values, zeros)


def test_empty_tensor_is_read(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file[f"{GROUP}/0"] = np.zeros((0, 3), np.float32)
    [(_, values)] = read_detector(path)[1].values()
    assert values.shape == (0, 3)
