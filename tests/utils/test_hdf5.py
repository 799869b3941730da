"""HDF5 files that are damaged, or whose values are elsewhere as in the attack CVE-2026-1669."""

import struct

import h5py
import numpy as np
import pytest

from tests.peak_memory import memory_limit
from utils.errors import UserError
from utils.hdf5 import open_hdf5
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


def write_name(path, name="dense"):
    """Writes a file with one string of variable length; returns its bytes."""
    with h5py.File(path, "w") as file:
        file.create_group(GROUP).attrs["name"] = name
    return path.read_bytes()


# The library computes 0 bytes up to the next object, and reads the same object again for ever.
@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 2**64 - 16)])
def test_heap_that_the_library_would_read_without_end_is_refused(tmp_path, index, size):
    path = tmp_path / "a.weights.h5"
    data = write_name(path)
    place = data.index(b"GCOL") + 16
    path.write_bytes(data[:place] + struct.pack("<H6xQ", index, size) + data[place + 16 :])
    with pytest.raises(UserError, match=rf"damaged \(the heap of strings is damaged at {place}\)"):
        read_detector(path)


def test_claimed_length_of_a_string_reserves_no_memory(tmp_path):
    path = tmp_path / "a.weights.h5"
    data = write_name(path)
    reference = struct.pack("<IQI", len("dense"), data.index(b"GCOL"), 1)
    assert data.count(reference) == 1
    path.write_bytes(data.replace(reference, struct.pack("<I", 2**32 - 1) + reference[4:]))
    with memory_limit(2**28), pytest.raises(UserError, match="is damaged"):
        read_detector(path)


def test_signature_of_a_heap_in_a_tensor_is_no_damage(tmp_path):
    path = tmp_path / "a.weights.h5"
    values = np.frombuffer(b"GCOL\1\0\0\0" + bytes(8) + b"GCOL\1" + b"\xff" * 27, np.uint8)
    with h5py.File(path, "w") as file:
        file[f"{GROUP}/0"] = values
    [(_, found)] = read_detector(path)[1].values()
    np.testing.assert_array_equal(found, values)


def test_long_strings_are_read(tmp_path):
    path = tmp_path / "a.weights.h5"
    write_name(path, "d" * 10**6)
    with open_hdf5(path) as file:
        assert file[GROUP].attrs["name"] == "d" * 10**6


def test_overlapping_heaps_are_refused(tmp_path):
    """If each were checked to its end, a megabyte would take minutes."""
    path = tmp_path / "a.weights.h5"
    data = write_name(path)
    count = 2**15
    heaps = [  # one object in each, and those of all heaps after it
        struct.pack("<4sB3xQH6xQ", b"GCOL", 1, 32 * left + 16, 1, 16)
        for left in range(count, 0, -1)
    ]
    path.write_bytes(data + b"".join(heaps) + bytes(16))
    with pytest.raises(UserError, match="heaps of strings overlap"):
        read_detector(path)


def test_group_whose_entries_are_a_circle_ends(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file[f"{GROUP}/0"] = np.ones(3, np.float32)
    data = bytearray(path.read_bytes())
    nodes = [place for place in range(len(data)) if data[place : place + 4] == b"TREE"]
    assert len(nodes) == 4  # the root, layers, dense and vars
    for place in nodes:  # the node to the right is the node itself
        data[place + 16 : place + 24] = struct.pack("<Q", place)
    path.write_bytes(data)
    [(_, values)] = read_detector(path)[1].values()
    np.testing.assert_array_equal(values, 1)


def test_link_to_another_file_is_not_followed(tmp_path):
    """The other file would be read without the checks."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["model_weights"] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(UserError, match="model_weights is in another file"):
        read_h5(path)
