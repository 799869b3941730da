"""Writes the records of one part as JSON lines or Parquet, whole or not at all."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from utils.errors import JobError
from utils.files import PART, written_whole
from utils.inference.job import digest_files
from utils.inference.record_file import Progress
from utils.ray_jobs.parts import Part, PartRecord

PARQUET = ".parquet"
JSON_LINES = ".jsonl"
# Ray gives a part to another worker whenever one dies. After so many, the cause is in the part.
MAX_DEATHS = 5


def suffix_of(path: Path) -> str:
    """Returns the suffix of the files of a job whose folder is `path`."""
    return PARQUET if path.suffix == PARQUET else JSON_LINES


class Writer(Protocol):
    """Writes records to a file."""

    def __enter__(self) -> Self:
        """Returns the writer."""
        ...

    def __exit__(self, *error: object) -> None:
        """Ends and closes the file."""
        ...

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes a record."""
        ...


class LineWriter:
    """Writes each record as a line of JSON.

    Args:
        path: The file.
    """

    def __init__(self, path: Path):
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        """Returns the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._file.close()

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes a record."""
        self._file.write(json.dumps(record).encode() + b"\n")


class PartFile:
    """The records of a part, in the form of `utils.inference.record_file.RecordFile`.

    Args:
        path: The file that will have the records.
        writer: Writes them.

    Attributes:
        path: The file.
        progress: What was written. The size is unknown, since the file is not complete.
        records: Number of records.
    """

    def __init__(self, path: Path, writer: Writer):
        self.path = path
        self.progress = Progress()
        self.records = 0
        self._writer = writer
        self._last = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes a record."""
        self._writer.append(record)
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
        JobError: Many workers have died before they had written the file.
        OSError: The file cannot be written.
    """
    deaths = len([*path.parent.glob(f"{PART}.*.{path.name}")])
    if deaths >= MAX_DEATHS:
        raise JobError(
            f"{deaths} workers died while they wrote {path.name}: try the sources at these "
            "positions alone, one of them may end the process or need too much memory"
        )
    with (
        written_whole(path, durable=True, shared=True) as (unfinished,),
        _writer(unfinished) as writer,
    ):
        yield PartFile(path, writer)


def _writer(path: Path) -> Writer:
    if path.suffix == PARQUET:
        from utils.ray_jobs.parquet import ParquetWriter  # imports PyArrow

        return ParquetWriter(path)
    return LineWriter(path)


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
