"""Saves the state of a run atomically in one file, and restores it.

The state before the last one is kept, in case that the last one is damaged.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.lib.npyio import NpzFile

from utils.errors import JobError, UserError
from utils.files import flush, written_whole
from utils.npz import DAMAGE

REMEDY = "it cannot be resumed; start a new run"

Variables = Mapping[str, Sequence[keras.Variable]]


def collect_state(
    path: Path, variables: Variables, progress: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Returns everything that resuming needs. Later changes of the variables do not change it.

    Args:
        path: The file that it is for, for the error message.
        variables: Variables of the model (including batch statistics and random states), of the
            optimizer and of the average, by their owner.
        progress: Everything else, as a JSON object.

    Raises:
        JobError: A value is not finite.
    """
    arrays = {key: variable.numpy() for key, variable in _by_key(variables).items()}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise JobError(
                f"{key} is not finite, so {path} keeps the last good state: continue from it with "
                "--resume, or start again with a lower --lr"
            )
    return arrays | {"progress": np.array(json.dumps(progress))}


def write_state(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes what `collect_state` returned. The last state becomes the one before.

    Args:
        path: The file of the last state.
        arrays: The state.

    Raises:
        OSError: The state cannot be written. The last one stays as it is.
    """
    with written_whole(path, durable=True) as (part,):
        np.savez(part, **arrays)
        flush(part)  # before the last state is moved
        if path.is_file():
            path.replace(_previous(path))


def find_state(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """Returns the file and the progress of the newest state that is whole; None if none was saved.

    If it is not the last one, a warning on standard error names the reason.

    Args:
        path: The file of the last state.

    Raises:
        UserError: All states are damaged.
    """
    damage = None
    for candidate in (path, _previous(path)):
        if not candidate.is_file():
            continue
        try:
            with _opened(candidate) as archive:
                progress = _progress(archive)
                for key in archive.files:
                    archive[key]  # compares the checksum
        except UserError as error:
            damage = damage or error
            continue
        if candidate != path:
            reason = f"{damage}".removesuffix(f", {REMEDY}") if damage else f"{path} is missing"
            print(
                f"warning: {reason}; continuing from {candidate}, step {progress.get('step')}",
                file=sys.stderr,
            )
        return candidate, progress
    if damage:
        raise damage
    return None


def _previous(path: Path) -> Path:
    return path.with_name(f"previous{path.suffix}")


def load_state(path: Path, variables: Variables, like: Mapping[str, Any]) -> dict[str, Any]:
    """Restores the variables that `write_state` wrote.

    Args:
        path: The file.
        variables: The variables, by their owner.
        like: Any progress; that of the file must have the same keys, with values of the same types.

    Returns:
        The progress.

    Raises:
        UserError: The file is missing, damaged or belongs to another model. The variables do not
            change then.
    """
    by_key = _by_key(variables)
    with _opened(path) as archive:
        progress = _progress(archive)
        arrays = {key: archive[key] for key in archive.files}
    if reason := _difference(progress, like):
        raise UserError(
            f"{path} is damaged or of another version (its progress {reason}), {REMEDY}"
        )
    for key, variable in by_key.items():
        if key not in arrays or arrays[key].shape != tuple(variable.shape):
            raise UserError(f"{path} does not fit this run at {key}, resume with its own config")
        if arrays[key].dtype.kind not in "biuf" or not np.isfinite(arrays[key]).all():
            raise UserError(f"{path} is damaged ({key} is not finite), {REMEDY}")
    for key, variable in by_key.items():
        variable.assign(arrays[key])
    return progress


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[NpzFile]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, NpzFile):
                raise ValueError("not an archive of arrays")
            yield archive
    except FileNotFoundError as error:
        raise UserError(f"no {path.name} in {path.parent}, there is nothing to resume") from error
    except DAMAGE as error:
        raise UserError(f"{path} is damaged ({error}), {REMEDY}") from error


def _progress(archive: NpzFile) -> dict[str, Any]:
    def reject(name: str) -> None:
        raise ValueError(f"its progress contains {name}")

    if "progress" not in archive.files:
        raise ValueError("it has no progress")
    try:
        progress = json.loads(str(archive["progress"]), parse_constant=reject)
    except json.JSONDecodeError as error:
        raise ValueError("its progress is not JSON") from error
    rows = progress.get("history") if isinstance(progress, dict) else None
    if not isinstance(rows, list) or not all(isinstance(r, dict) and "epoch" in r for r in rows):
        raise ValueError("its progress has no history")
    return progress


def _difference(value: Any, like: Any) -> str:
    """Returns how the structure of a JSON value differs from that of another; empty if not."""
    if isinstance(like, dict):
        if not isinstance(value, dict):
            return f"has {value!r} instead of an object"
        for key, item in like.items():
            if key not in value:
                return f"lacks {key!r}"
            if reason := _difference(value[key], item):
                return reason
        return ""
    kinds = (int, float) if isinstance(like, float) else type(like)
    return "" if isinstance(value, kinds) else f"has {value!r} instead of {like!r}"


def _by_key(variables: Variables) -> dict[str, keras.Variable]:
    return {
        f"{owner}/{index}/{variable.path}": variable
        for owner, owned in variables.items()
        for index, variable in enumerate(owned)
    }
