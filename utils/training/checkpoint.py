"""Saves the state of a run atomically in one file, and restores it."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from utils.errors import JobError, UserError
from utils.files import written_whole

Variables = Mapping[str, Sequence[keras.Variable]]


def save_state(path: Path, variables: Variables, progress: dict[str, Any]) -> None:
    """Saves everything that resuming needs.

    Args:
        path: The file to write or replace.
        variables: Variables of the model (including batch statistics and random states), of the
            optimizer and of the average, by their owner.
        progress: Everything else, as a JSON object.

    Raises:
        JobError: A value is not finite. The last state stays as it is.
    """
    arrays = {key: variable.numpy() for key, variable in _by_key(variables).items()}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise JobError(
                f"{key} is not finite, so {path} keeps the last good state: continue from it with "
                "--resume, or start again with a lower --lr"
            )
    with written_whole(path, durable=True) as (part,):
        np.savez(part, progress=np.array(json.dumps(progress)), **arrays)


def load_state(path: Path, variables: Variables) -> dict[str, Any]:
    """Restores the variables that `save_state` wrote.

    Returns:
        The progress.

    Raises:
        UserError: The file is missing, damaged or belongs to another model. The variables do not
            change then.
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
