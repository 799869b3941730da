"""Reads files of tensors as data: code in them is never executed."""

import pickle
import re
from pathlib import Path

import h5py
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from utils.errors import UserError
from utils.layer_tensors import LayerTensors


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.safetensors`, or, with torch, of a `.pth` or `.pt`.

    Returns:
        Float32 arrays by name.

    Raises:
        UserError: The file is missing, damaged, or would run code; or torch is not installed.
    """
    if not path.is_file():
        raise UserError(f"no weights file {path}, name one that exists")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def has_layer_names(path: Path) -> bool:
    """Whether a `.h5` lists its layers, as files of Keras 2 and of `keras.applications` do.

    Raises:
        UserError: The file is damaged.
    """
    try:
        with h5py.File(path) as file:
            return "layer_names" in _weights_of(file).attrs
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}), get it again") from error


def read_h5(path: Path) -> LayerTensors:
    """Reads a `.weights.h5` of Keras 3, or a `.h5` of Keras 2, such as those that Keras downloads.

    Raises:
        UserError: The file is missing, damaged, or contains code.
    """
    if not path.is_file():
        raise UserError(f"no weights file {path}, name one that exists")
    tensors = {}
    try:
        with h5py.File(path) as file:
            if '"Lambda"' in _text(file.attrs.get("model_config", "")):
                raise UserError(f"{path} contains code (a Lambda layer), save its weights only")
            group = _weights_of(file)
            if "layer_names" in group.attrs:
                for layer in map(_text, group.attrs["layer_names"]):
                    for index, name in enumerate(map(_text, group[layer].attrs["weight_names"])):
                        tensors[f"{layer}/{index}"] = (name, group[layer][name][()])
                return tensors

            def visit(name: str, group: h5py.Group | h5py.Dataset) -> None:
                if name.endswith("vars") and "name" in group.attrs:
                    for index, values in group.items():
                        key = f"{group.attrs['name']}/{index}"
                        tensors[key] = (key, values[()])

            file.visititems(visit)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}), get it again") from error
    return tensors


def _weights_of(file: h5py.File) -> h5py.Group:
    return file.get("model_weights", file)  # a subgroup if the file holds a whole model


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return {name: values.astype(np.float32) for name, values in load_file(path).items()}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}), get it again") from error


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(f"torch is needed to read {path}, install it: pip install torch") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path} would run code when loaded ({code[1]}), use a file that holds tensors only"
            ) from error
        raise UserError(f"{path} is damaged, get it again") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged, get it again") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # training scripts save it beside epoch and optimizer
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise UserError(f"{path} is not a state dict of tensors, save model.state_dict()")
    return {name: tensor.float().numpy() for name, tensor in state.items()}
