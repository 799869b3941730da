"""Reads the values of HDF5 files that may come from anyone."""

import h5py
import numpy as np

# Deflate, the strongest of HDF5's own compressions, cannot shrink data further.
MAX_RATIO = 1032


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
