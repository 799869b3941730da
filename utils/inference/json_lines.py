"""Writes the records of a long job: one line of JSON per image or frame."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from utils.errors import JobError
from utils.inference.frames import Frame
from utils.inference.record_file import Progress
from utils.inference.sinks import Sink, entry_of
from utils.inference.sources import Source
from utils.text import counted


class Records(Protocol):
    """Where records are written to: `RecordFile`, or a part of a job.

    Attributes:
        path: The file.
        progress: What it contains.
    """

    path: Path
    progress: Progress

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes a record."""
        ...

    def end(self, index: int) -> None:
        """Notes that all records of a source are written."""
        ...


class JsonLines(Sink):
    """Writes a record per image and per frame as soon as it is processed.

    A record is the entry of `--json` with the position of its source in the list of all sources,
    `index`. A source that cannot be read, or ends early, has a record with its `error`.

    Args:
        file: Where the records are written to.
        is_stopped: Returns whether the job has to stop. It is called after each record.
    """

    def __init__(self, file: Records, is_stopped: Callable[[], bool]):
        self._file = file
        self._is_stopped = is_stopped

    def take(self, frame: Frame) -> None:
        """Writes the record of an image or frame.

        Raises:
            KeyboardInterrupt: The job has to stop.
        """
        source = frame.source
        self._file.append({"index": source.index, **entry_of(frame)})
        if source.is_image:
            self._file.end(source.index)
        self._stop_if_requested()

    def fail(self, source: Source, message: str) -> None:
        """Writes a record with an error.

        Raises:
            KeyboardInterrupt: The job has to stop.
        """
        record: dict[str, Any] = {"index": source.index, "source": source.address}
        self._file.append(record | {"error": message})
        self._file.end(source.index)
        self._stop_if_requested()

    def end(self, source: Source) -> None:
        """Notes that a video is complete."""
        self._file.end(source.index)

    def finish(self) -> None:
        """Prints what the file contains.

        Raises:
            JobError: It contains errors.
        """
        progress = self._file.progress
        report_records(self._file.path, progress.done, progress.errors)

    def _stop_if_requested(self) -> None:
        if self._is_stopped():
            raise KeyboardInterrupt


def report_records(path: Path, sources: int, errors: int) -> None:
    """Prints what a job has written.

    Args:
        path: The file or folder of records.
        sources: Number of sources.
        errors: Number of records with an error.

    Raises:
        JobError: There are errors.
    """
    print(f"{path}: {counted(sources, 'source')}")
    if errors:
        raise JobError(
            f"{errors} of {counted(sources, 'source')} could not be read completely, see the "
            f'records with "error" in {path}'
        )
