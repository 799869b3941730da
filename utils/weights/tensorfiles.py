"""Reads files of tensors as data: code in them is never executed."""

import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from safetensors.numpy import load_file

from utils.errors import UserError
from utils.hdf5 import open_hdf5, read_values
from utils.layer_tensors import LayerTensors, reading
from utils.weights_file import read_tensors

if TYPE_CHECKING:
    import torch

REMEDY = "get it again"  # of files that were not written by this project

# In earlier versions, crafted files run code in spite of `weights_only`: GHSA-63cw-57p8-fm3p.
MIN_TORCH = (2, 10)


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.safetensors`, or, with torch, of a `.pth` or `.pt`.

    Returns:
        Float32 arrays by name.

    Raises:
        UserError: The file is damaged or would run code, or torch is not installed or too old.
    """
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def has_layer_names(path: Path) -> bool:
    """Whether a `.h5` lists its layers, as files of Keras 2 and of `keras.applications` do.

    Raises:
        UserError: The file is damaged.
    """
    with reading(path, REMEDY), open_hdf5(path) as file:
        return "layer_names" in _weights_of(file).attrs


def read_h5(path: Path) -> LayerTensors:
    """Reads a `.weights.h5` of Keras 3, or a `.h5` of Keras 2, such as those that Keras downloads.

    Raises:
        UserError: The file is missing, damaged, or contains code.
    """
    if not path.is_file():
        raise UserError(f"no weights file {path}, name one that exists")
    with reading(path, REMEDY), open_hdf5(path) as file:
        if '"Lambda"' in _text(file.attrs.get("model_config", "")):
            raise UserError(f"{path} contains code (a Lambda layer), save its weights only")
        group = _weights_of(file)
        if "layer_names" not in group.attrs:
            return read_tensors(file)[1]
        return {
            f"{layer}/{index}": (name, read_values(group[layer][name], file))
            for layer in map(_text, group.attrs["layer_names"])
            for index, name in enumerate(map(_text, group[layer].attrs["weight_names"]))
        }


def _weights_of(file: h5py.File) -> h5py.Group:
    return file.get("model_weights", file)  # a subgroup if the file holds a whole model


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with reading(path, REMEDY):
        tensors = load_file(path)
        if names := [name for name, values in tensors.items() if np.iscomplexobj(values)]:
            raise ValueError(f"{names[0]} has complex values")
        return {name: values.astype(np.float32) for name, values in tensors.items()}


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(f"torch is needed to read {path}, install it: pip install torch") from error
    if torch.__version__ < MIN_TORCH:
        raise UserError(
            f"torch {torch.__version__} may run code in {path}: upgrade it to 2.10 or later, or "
            "use a .safetensors"
        )
    try:
        with reading(path, REMEDY):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path} would run code when loaded ({code[1]}), use a file that holds tensors only"
            ) from error
        raise UserError(f"{path} is damaged, {REMEDY}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # training scripts save it beside epoch and optimizer
    is_state = isinstance(state, dict) and all(
        isinstance(name, str) and torch.is_tensor(tensor) for name, tensor in state.items()
    )
    if not is_state:
        raise UserError(f"{path} is not a state dict of tensors, save model.state_dict()")
    with reading(path, REMEDY):
        return {name: _values_of(tensor, name) for name, tensor in state.items()}


def _values_of(tensor: "torch.Tensor", name: str) -> np.ndarray:
    if tensor.is_complex():
        raise ValueError(f"{name} has complex values")
    if tensor.untyped_storage().nbytes() < tensor.nbytes:
        raise ValueError(f"{name} has fewer values than its shape {tuple(tensor.shape)} says")
    return tensor.detach().float().numpy()
