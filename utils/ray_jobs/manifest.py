"""The manifest of a job: which parts are written."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator, Set
from pathlib import Path

from utils.errors import UserError
from utils.files import flush, written_whole
from utils.inference.job import digest_files
from utils.json_records import from_json
from utils.ray_jobs.parts import PartRecord
from utils.text import counted

# PyArrow, Spark and others skip files with such names when they read a folder as one table.
NAME = "_manifest.jsonl"


class Manifest:
    """A file with a line of JSON per part whose file is written, in the order in which they end.

    A part that is not in it is written again, even if its file exists.

    Args:
        folder: The folder of the parts.
        names: Names of all parts of the job.

    Attributes:
        parts: The parts that are written, by name.

    Raises:
        OSError: The file cannot be read or written.
    """

    def __init__(self, folder: Path, names: Set[str]):
        self._path = folder / NAME
        self.parts = {each.part: each for each in self._read() if each.part in names}
        lost = [each.part for each in self.parts.values() if not _is_intact(folder, each)]
        for name in lost:
            del self.parts[name]
        if lost:
            print(
                f"warning: {counted(len(lost), 'part')} of {folder} missing or changed, written "
                f"again: {min(lost)}{' and others' if len(lost) > 1 else ''}",
                file=sys.stderr,
            )
        with written_whole(self._path, durable=True) as (part,):
            part.write_bytes(b"".join(map(_line, self.parts.values())))

    @property
    def sources(self) -> int:
        """Number of sources whose records are written."""
        return sum(each.sources for each in self.parts.values())

    @property
    def errors(self) -> int:
        """Number of records with an error."""
        return sum(each.errors for each in self.parts.values())

    def add(self, record: PartRecord) -> None:
        """Writes the line of a part, so that it survives a power failure.

        Raises:
            OSError: It cannot be written; the error names the file.
        """
        try:
            with self._path.open("ab") as file:
                file.write(_line(record))
            flush(self._path)
        except OSError as error:  # an incomplete line is removed when the job continues
            error.filename = str(self._path)
            raise
        self.parts[record.part] = record

    def _read(self) -> Iterator[PartRecord]:
        """Yields the lines; one that a kill or a full disk has cut off is skipped."""
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        for line in lines:
            with contextlib.suppress(ValueError, UserError):
                yield from_json(PartRecord, json.loads(line), str(self._path))


def _line(record: PartRecord) -> bytes:
    return json.dumps(dataclasses.asdict(record)).encode() + b"\n"


def _is_intact(folder: Path, record: PartRecord) -> bool:
    path = folder / record.part
    return (
        path.is_file()
        and path.stat().st_size == record.bytes
        and digest_files([path]) == record.blake2b
    )
