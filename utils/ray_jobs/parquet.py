"""Writes records as rows of a Parquet file."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow
from pyarrow import parquet

ROWS = 1000  # in the memory at a time

DETECTION = pyarrow.struct(
    {
        "label": pyarrow.string(),
        "score": pyarrow.float64(),
        "box": pyarrow.list_(pyarrow.float64()),
        "track_id": pyarrow.int64(),
    }
)
LINE_COUNTS = pyarrow.map_(pyarrow.string(), pyarrow.map_(pyarrow.string(), pyarrow.int64()))
# The same in all files, so that they can be read as one table. What a record lacks is null.
SCHEMA = pyarrow.schema(
    {
        "index": pyarrow.int64(),
        "source": pyarrow.string(),
        "width": pyarrow.int64(),
        "height": pyarrow.int64(),
        "detections": pyarrow.list_(DETECTION),
        "frame": pyarrow.int64(),
        "line_counts": LINE_COUNTS,
        "error": pyarrow.string(),
    }
)
TEXTS = {"error", "source"}  # keys whose values can name files


class ParquetWriter:
    """Writes each record as a row.

    Args:
        path: The file.
    """

    def __init__(self, path: Path):
        self._writer = parquet.ParquetWriter(path, SCHEMA)
        self._rows: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        """Returns the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes the last rows, unless there was an error, and closes the file."""
        with self._writer:
            if error is None:
                self._flush()

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes a record."""
        texts = {key: _unicode(record[key]) for key in TEXTS & record.keys()}
        self._rows.append({**record, **texts})
        if len(self._rows) == ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, SCHEMA))
        self._rows.clear()


def _unicode(text: str) -> str:
    """Escapes bytes of a file name that are not UTF-8, as JSON does."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
