"""The history of a run: one row of numbers per epoch, in CSV."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.errors import UserError
from utils.files import written_whole

HISTORY = "history.csv"
MAX_BYTES = 8 * 2**20  # 10,000 epochs have a quarter of that


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Writes a history.

    Args:
        path: The file to write or replace.
        history: One row per epoch; a value that was not measured has no key.
    """
    columns = list(dict.fromkeys(key for row in history for key in row))
    with written_whole(path) as (part,), part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)


def read_history(path: Path) -> dict[str, list[float | None]]:
    """Reads a history.

    Args:
        path: A file that `write_history` has written.

    Returns:
        The columns by name, all of the same length; None where a value was not measured or is not
        finite.

    Raises:
        UserError: It is not a history, damaged, or too large.
        OSError: It cannot be read.
    """
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is not a history of train.py, remove it")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file, strict=True)  # ValueError if it is empty
        if "epoch" not in head:
            raise ValueError("it has no column 'epoch'")
        cells = [dict(zip(head, map(_number, row), strict=True)) for row in rows]
        history = {name: [row[name] for row in cells] for name in head}
        if None in history["epoch"]:
            raise ValueError("a row has no epoch")
    except (ValueError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}; restore or remove it") from error
    return history


def _number(cell: str) -> float | None:
    value = float(cell) if cell else math.nan
    return value if math.isfinite(value) else None
