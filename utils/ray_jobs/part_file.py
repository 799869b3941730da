"""Writes the records of one part as JSON lines or Parquet, whole or not at all."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from utils.errors import JobError
from utils.files import written_whole
from utils.inference.job import digest_files
from utils.inference.record_file import Progress
from utils.parts import PART
from utils.ray_jobs.parts import Part, PartRecord

PARQUET = ".parquet"
JSON_LINES = ".jsonl"
# Ray gives a part to another worker whenever one dies. After so many deaths, the cause is the model
# or a source of the part.
MAX_DEATHS = 5

Append = Callable[[Mapping[str, Any]], object]  # writes a record


def suffix_of(path: Path) -> str:
    """Returns the suffix of the files of a job whose folder is `path`."""
    return PARQUET if path.suffix == PARQUET else JSON_LINES


@contextlib.contextmanager
def line_writer(path: Path) -> Iterator[Append]:
    """Opens a file inside a `with` block, and returns a function that writes a line of JSON."""
    with path.open("wb") as file:
        yield lambda record: file.write(json.dumps(record).encode() + b"\n")


class PartFile:
    """The records of a part, in the form of `utils.inference.record_file.RecordFile`.

    Args:
        path: The file that will have the records.
        write: Writes a record.

    Attributes:
        path: The file.
        progress: What was written. The size is unknown, since the file is not complete.
        records: Number of records.
    """

    def __init__(self, path: Path, write: Append):
        self.path = path
        self.progress = Progress()
        self.records = 0
        self._write = write
        self._last = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes a record."""
        self._write(record)
        self.records += 1
        self.progress.errors += "error" in record

    def end(self, index: int) -> None:
        """Notes that all records of a source are written; can be called again."""
        self.progress.done += index != self._last
        self._last = index


@contextlib.contextmanager
def open_part(path: Path) -> Iterator[PartFile]:
    """Opens the file of a part, which replaces `path` if the block ends without an error.

    Raises:
        JobError: Many workers have died while they worked on the part.
        OSError: The file cannot be written.
    """
    deaths = len([*path.parent.glob(f"{PART}.*.{path.name}")])
    if deaths >= MAX_DEATHS:
        raise JobError(
            f"{deaths} workers died while they worked on {path.name}: try the sources at these "
            "positions alone, one of them or the model may end the process or need too much memory"
        )
    with (
        written_whole(path, durable=True, shared=True, keep_dead=True) as (unfinished,),
        _writer(unfinished) as write,
    ):
        yield PartFile(path, write)


def _writer(path: Path) -> AbstractContextManager[Append]:
    if path.suffix == PARQUET:
        from utils.ray_jobs.parquet import row_writer  # imports PyArrow

        return row_writer(path)
    return line_writer(path)


def describe(file: PartFile, part: Part) -> PartRecord:
    """Returns the entry of the manifest for a part whose file is written."""
    return PartRecord(
        part=part.name,
        sources=file.progress.done,
        records=file.records,
        errors=file.progress.errors,
        bytes=file.path.stat().st_size,
        blake2b=digest_files([file.path]),
    )
