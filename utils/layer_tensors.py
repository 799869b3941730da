"""Tensors by layer: the form in which weights travel between files and networks.

The key of a tensor is "layer/index", the name of its layer and its index in `layer.weights`.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError

from utils.errors import UserError

# Key -> the name of the tensor in its file, for messages, and its values.
LayerTensors = dict[str, tuple[str, np.ndarray]]

REMEDY = "get it again or train again"  # if a file of weights is damaged

# What libraries raise for a damaged file. h5py raises any of the first six. Torch interprets
# pickles in Python, and any error of its own code can be the result.
SIGNS_OF_DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    MemoryError,
    EOFError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    struct.error,
    SafetensorError,
)


@contextlib.contextmanager
def reading(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Names the file in the errors of the libraries that read it.

    Args:
        path: The file.
        remedy: End of the error message: what to do if the file is damaged.

    Raises:
        UserError: The file is damaged or cannot be read.
    """
    try:
        path.open("rb").close()  # safetensors would say that there is no such file
        yield
    except PermissionError as error:
        raise UserError(f"no permission to read {path}, change its permissions") from error
    except SIGNS_OF_DAMAGE as error:
        raise UserError(f"{path} is damaged ({error}), {remedy}") from error


def weights_by_key(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights of a model, nested models included, by key."""
    weights = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            weights |= weights_by_key(layer)
        else:
            weights |= {f"{layer.name}/{i}": weight for i, weight in enumerate(layer.weights)}
    return weights


def load_exactly(model: keras.Model, tensors: LayerTensors, path: Path) -> None:
    """Fills a network with exactly its own tensors, or changes nothing.

    Args:
        model: The network.
        tensors: Its tensors.
        path: File that they come from, for error messages.

    Raises:
        UserError: A tensor is missing, superfluous, not finite or of another shape; names it.
    """
    weights = weights_by_key(model)
    for key, weight in weights.items():
        if key not in tensors:
            raise UserError(f"{path} lacks {weight.path}, it is incomplete or of another network")
        name, values = tensors[key]
        if values.shape != tuple(weight.shape):
            shapes = f"{values.shape} in the file, {tuple(weight.shape)} in the network"
            raise UserError(f"{path} does not fit: {name} is {shapes}")
        require_finite(values, name, path)
    if extra := [name for key, (name, _) in tensors.items() if key not in weights]:
        raise UserError(f"{path} has a tensor too many: {extra[0]}")
    for key, weight in weights.items():
        weight.assign(tensors[key][1])


def require_finite(values: np.ndarray, name: str, source: str | Path) -> None:
    """Checks that a tensor has no NaN and no infinity.

    Raises:
        UserError: It has; names the tensor and its file.
    """
    if not np.isfinite(values).all():
        raise UserError(f"{source} is damaged: {name} holds NaN or infinity, {REMEDY}")
