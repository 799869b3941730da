"""Writes records as rows of a Parquet file."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

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


@contextlib.contextmanager
def row_writer(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Opens a file inside a `with` block, and returns a function that writes a record as a row."""
    rows: list[Mapping[str, Any]] = []
    with parquet.ParquetWriter(path, SCHEMA) as writer:

        def flush() -> None:
            writer.write_table(pyarrow.Table.from_pylist(rows, SCHEMA))
            rows.clear()

        def append(record: Mapping[str, Any]) -> None:
            texts = {key: _unicode(record[key]) for key in TEXTS & record.keys()}
            rows.append({**record, **texts})
            if len(rows) == ROWS:
                flush()

        yield append
        flush()


def _unicode(text: str) -> str:
    """Escapes bytes of a file name that are not UTF-8, as JSON does."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
