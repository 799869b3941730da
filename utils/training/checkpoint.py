"""The state of a run in one file, written whole or not at all."""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from utils.errors import UserError
from utils.files import written_whole

Variables = Mapping[str, Sequence[keras.Variable]]


def save_weights(model: keras.Model, path: Path) -> None:
    """Writes a model's weights as Keras does, `path` being a `.weights.h5`."""
    optimizer = getattr(model, "optimizer", None)
    model.optimizer = None  # Keras would save its variables, too
    try:
        with written_whole(path) as (part,):
            model.save_weights(part)
    finally:
        model.optimizer = optimizer


def save_state(path: Path, variables: Variables, progress: dict[str, Any]) -> None:
    """Writes everything that training needs to go on as though it had never stopped.

    Args:
        path: file to replace.
        variables: of the model, batch statistics and random states included, of the optimizer,
            and so on, by their owner.
        progress: what else there is to know, as JSON has it.
    """
    arrays = {key: variable.numpy() for key, variable in _by_key(variables).items()}
    with written_whole(path) as (part,), part.open("wb") as file:
        np.savez(file, progress=np.array(json.dumps(progress)), **arrays)
        file.flush()
        os.fsync(file.fileno())


def load_state(path: Path, variables: Variables) -> dict[str, Any]:
    """Puts back what `save_state` wrote.

    Returns:
        The progress.

    Raises:
        UserError: the file is missing, damaged, or of another model; nothing is changed then.
    """
    by_key = _by_key(variables)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"no {path.name} in {path.parent}, there is nothing to resume") from error
    except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}), it cannot be resumed") from error
    progress = json.loads(str(arrays.pop("progress", "null")))
    for key, variable in by_key.items():
        if key not in arrays or arrays[key].shape != tuple(variable.shape):
            raise UserError(f"{path} does not fit this run at {key}, resume with its own config")
    for key, variable in by_key.items():
        variable.assign(arrays[key])
    return progress


def _by_key(variables: Variables) -> dict[str, keras.Variable]:
    return {
        f"{owner}/{index}/{variable.path}": variable
        for owner, owned in variables.items()
        for index, variable in enumerate(owned)
    }
