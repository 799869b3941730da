"""A file of records, one JSON object per line, that a job can continue after any interruption."""

import contextlib
import io
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import flush
from utils.inference.job import JobFile, JobSettings, note_unfinished
from utils.inference.sources import SourceList


@dataclass
class Progress:
    """How far a job is.

    Attributes:
        done: Number of sources whose records are all written, from the first of the list.
        errors: Number of records with an error among them.
        size: Bytes of these records.
    """

    done: int = 0
    errors: int = 0
    size: int = 0


class RecordFile:
    """Appends records to a file, each written at once and without a buffer.

    Args:
        path: The file.
        raw: The same file, opened for appending without a buffer.
        sources: The sources of the job, in the order of their records.
        progress: What the file contains.

    Attributes:
        path: The file.
        progress: What the file contains, up to the last complete source.
    """

    def __init__(self, path: Path, raw: io.FileIO, sources: SourceList, progress: Progress):
        self.progress = progress
        self.path = path
        self._raw = raw
        self._sources = sources
        self._size = progress.size

    @property
    def rest(self) -> SourceList:
        """The sources whose records are missing."""
        return self._sources[self.progress.done :]

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes a record.

        After an error, the file ends with the record before.

        Raises:
            OSError: The record cannot be written; the error names the file.
        """
        line = json.dumps(record).encode() + b"\n"
        try:
            written = 0
            while written < len(line):  # a full disk takes a part without an error
                written += self._raw.write(line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):  # an incomplete line is removed by the next job
                self._raw.truncate(self._size)
            error.filename = str(self.path)
            raise
        self._size += len(line)
        self.progress.errors += "error" in record

    def end(self, index: int) -> None:
        """Notes that all records of a source, and of those before it, are written.

        Args:
            index: Position of the source in the list of all sources.
        """
        self.progress.done = self._sources.indices.index(index) + 1


@contextlib.contextmanager
def open_records(
    path: Path, settings: JobSettings, sources: SourceList, resume: bool
) -> Iterator[RecordFile]:
    """Opens a file of records for one job, which is complete if the block ends without an error.

    Otherwise, a note on standard error says how to continue.

    Args:
        path: The file; created if it does not exist.
        settings: The settings of the job.
        sources: All its sources.
        resume: Whether to continue a file that exists.

    Raises:
        UserError: The file exists and `resume` is False, another process writes it, it is of a job
            with other settings, or it is damaged.
        OSError: The file cannot be written.
    """
    check_records(path, sources, resume)
    job = JobFile(path)
    with job.locked():
        is_new = not path.exists()
        if is_new:
            progress = Progress()
            job.begin(settings, resume)
        else:
            was_complete = job.read(settings)
            progress = _read_progress(path, sources, was_complete)
        with path.open("xb" if is_new else "ab", buffering=0) as raw:
            raw.truncate(progress.size)
            file = RecordFile(path, raw, sources, progress)
            try:
                yield file
            except BaseException:
                note_unfinished(progress.done, len(sources), path)
                raise
        flush(path)
        job.write(settings, complete=True)


def check_records(path: Path, sources: SourceList, resume: bool) -> None:
    """Checks that a file of records can be created, or continued if it exists.

    Args:
        path: The file.
        sources: The sources of the job.
        resume: Whether to continue a file that exists.

    Raises:
        UserError: It cannot.
    """
    live = sources.find_live()
    if resume and live:
        raise UserError(f"{live} is live and cannot be continued, remove --resume")
    if path.suffix == ".parquet":
        raise UserError(
            f"{path} would have lines of JSON: add --workers ray or choose a .jsonl file"
        )
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file, choose another path")
    JobFile(path).check(path.exists(), resume)


def _read_progress(path: Path, sources: SourceList, is_complete: bool) -> Progress:
    """Finds out how far a job came, and describes on standard error what has to be removed.

    Args:
        path: The file of records.
        sources: The sources of the job.
        is_complete: Whether the job has ended; otherwise a video at the end has to be repeated.

    Raises:
        UserError: The file is damaged.
    """
    progress, size, is_open = Progress(), 0, False  # `is_open`: frames of a source were read
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                print(
                    f"note: the last line of {path} was not written completely, it is removed",
                    file=sys.stderr,
                )
                break
            record = _parse(line)
            if is_open and not _belongs(record, sources, progress.done):
                progress.done, progress.size, is_open = progress.done + 1, size, False
            if not _belongs(record, sources, progress.done):
                raise UserError(
                    f"{path}: line {number} is damaged or not the record that belongs there, "
                    "remove all lines from there on, or choose another file"
                )
            size += len(line)
            progress.errors += "error" in record
            is_open = "frame" in record
            if not is_open:
                progress.done, progress.size = progress.done + 1, size
    if is_open and is_complete:
        progress.done, progress.size = progress.done + 1, size
    elif is_open:
        print(
            f"note: {sources.address(progress.done)} is processed again from its first frame",
            file=sys.stderr,
        )
    return progress


def _parse(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _belongs(record: Mapping[str, Any], sources: SourceList, position: int) -> bool:
    """Whether a record is one of the source at a position."""
    return (
        position < len(sources)
        and record.get("index") == sources.indices[position]
        and record.get("source") == sources.address(position)
    )
