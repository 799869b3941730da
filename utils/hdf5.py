"""Reads HDF5 files that may come from anyone."""

import contextlib
import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from utils.memory import limited_memory

# Deflate, the strongest of HDF5's own compressions, cannot shrink data further.
MAX_RATIO = 1032
# What reading may add to the memory of the process: bytes for the library, and multiples of the
# size of the file, which can be compressed.
SPARE_MEMORY, MAX_GROWTH = 2**29, 8

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAP = re.compile(rb"GCOL\x01")


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Opens a file for reading inside a `with` block, with a limit of memory.

    The HDF5 library reads a damaged heap of strings without end (HDFGroup/hdf5#1707), and nothing
    can interrupt it. For a damaged length of a string, it would reserve up to 4 GiB. It fails with
    errors of several types if the limit is reached.

    Args:
        path: The file.

    Yields:
        The open file.

    Raises:
        OSError: The file is not an HDF5 file.
        ValueError: A heap is damaged, or a link leads to another file.
    """
    size = path.stat().st_size
    if size:  # a special file has none
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_heaps(data)
    with limited_memory(SPARE_MEMORY + MAX_GROWTH * size), h5py.File(path) as hdf5:
        if outside := _links(hdf5, h5py.h5l.TYPE_EXTERNAL):
            raise ValueError(f"{outside[0].decode(errors='replace')} is in another file")
        yield hdf5


def all_groups(file: h5py.File) -> Iterator[tuple[str, h5py.Group]]:
    """Yields all groups of a file with their paths, first the root with an empty path.

    `visititems` of h5py would not end if the entries of a group are damaged.
    """
    yield "", file
    for name in _links(file, h5py.h5l.TYPE_HARD):
        if isinstance(item := file[name], h5py.Group):
            yield name.decode(errors="surrogateescape"), item


def read_values(dataset: h5py.Dataset, file: h5py.File) -> np.ndarray:
    """Reads a dataset, if its values are in the file itself.

    HDF5 can also take them from any other file that the user can read. The values of that file
    would become weights, and leave the machine with them.

    Args:
        dataset: The dataset.
        file: The file that was opened.

    Raises:
        ValueError: The values are in another file, are no real numbers, or there are fewer than
            the shape says.
    """
    if dataset.file != file or dataset.external or dataset.is_virtual:
        raise ValueError(f"the values of {dataset.name} are in another file")
    if dataset.dtype.kind not in "fiub":
        raise ValueError(f"{dataset.name} has no real numbers, but {dataset.dtype}")
    if dataset.nbytes > MAX_RATIO * dataset.id.get_storage_size():
        raise ValueError(f"{dataset.name} has fewer values than its shape {dataset.shape} says")
    return np.asarray(dataset[()])


def _links(file: h5py.File, kind: int) -> list[bytes]:
    """Returns the paths of all links of a kind, such as `h5py.h5l.TYPE_HARD`."""
    found: list[tuple[bytes, int]] = []
    file.id.links.visit(lambda path, link: found.append((path, link.type)), info=True)
    return [path for path, each in found if each == kind]


def _check_heaps(data: mmap.mmap) -> None:
    """Checks the global heaps, section III.E of the HDF5 File Format Specification.

    Heaps are found by their signature. Tensors can contain it by chance, but hardly a whole heap
    that is damaged.

    Raises:
        OSError: The file does not begin with a superblock.
        ValueError: A heap is damaged.
    """
    if data[:8] != SIGNATURE:  # HDF5 would also look for it at 512, 1024, ...
        raise OSError("it does not begin with the signature of HDF5")
    sizes = data[13:15] if data[8:9] < b"\2" else data[9:11]
    if sizes != b"\x08\x08":
        raise ValueError("addresses or lengths do not have eight bytes")
    checked = 0
    for found in HEAP.finditer(data):
        start = found.start()
        if len(data) - start < 16:
            return
        end = start + struct.unpack_from("<Q", data, start + 8)[0]
        if end > len(data):
            continue  # HDF5 reports this one
        checked += end - start
        if checked > len(data):
            raise ValueError("heaps of strings overlap")
        _check_objects(data, start + 16, end)


def _check_objects(data: mmap.mmap, place: int, end: int) -> None:
    """Checks that the objects of a heap follow one another."""
    while place + 16 <= end:
        index, size = struct.unpack_from("<H6xQ", data, place)
        # Object 0 is the free space, whose size includes its header.
        length = 16 + -(-size // 8) * 8 if index else size
        if not 0 < length <= end - place:
            raise ValueError(f"the heap of strings is damaged at {place}")
        place += length
