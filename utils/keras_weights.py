"""Writes the weights of a Keras model to a file."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras import Model


class _NamedBuffer(io.BytesIO):
    """A file in memory with a name, by which Keras recognizes the format."""

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def __str__(self) -> str:
        return self._name


def save_keras_weights(model: "Model", path: Path) -> None:
    """Writes the weights of a model as `model.save_weights` does, but in memory first.

    If HDF5 itself writes to a disk that is full, it crashes the process with a segmentation fault
    (seen with HDF5 of h5py 3.14 at most sizes of the remaining space).

    Args:
        model: The model.
        path: The file to write, whose name ends in `.weights.h5`.

    Raises:
        OSError: The file cannot be written.
    """
    buffer = _NamedBuffer(path.name)
    model.save_weights(buffer)
    path.write_bytes(buffer.getbuffer())
