"""What determines the records of a long prediction job, stored beside them in a JSON file."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.file_lock import file_locked
from utils.files import written_whole
from utils.json_records import read_json
from utils.text import counted

FORMAT = 3  # of the file; changes if older ones cannot be continued
REMEDY = "choose another file, or move both away to begin again"


@dataclass(frozen=True)
class JobSettings:
    """Everything on which the records of a job depend, so that it continues only with the same.

    Numbers of threads and images per batch are not part of it, since they only change the speed.

    Attributes:
        model: Digest of the files of the model, see `digest_files`.
        sources: Digest of all sources, see `utils.inference.sources.SourceList.digest`.
        number_of_sources: Their number.
        shard: Which of how many parts of the sources, from 1, as `1/4`.
        conf: Minimum score of a detection.
        iou: Maximum IoU of two detections of one class.
        max_boxes: Maximum number of detections per image.
        classes: The only classes to find; None for all.
        every: Step between the frames of a video that are processed.
        precision: Precision of the runtime of an exported model; None for its default.
        track: Whether objects are tracked.
        count_line: Corners of the line whose crossings are counted, xyxy; None for no line.
    """

    model: str
    sources: str
    number_of_sources: int
    shard: str = "1/1"
    conf: float = 0.5
    iou: float = 0.3
    max_boxes: int = 100
    classes: tuple[str, ...] | None = None
    every: int = 1
    precision: str | None = None
    track: bool = False
    count_line: tuple[float, ...] | None = None


def digest_files(paths: Iterable[Path]) -> str:
    """Returns the BLAKE2b of the names and contents of files, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "blake2b").hexdigest()
        digest.update(f"{path.name!r} {content}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class JobFile:
    """The file `RECORDS.job.json` beside a file or folder of records.

    Attributes:
        records: The file or folder of records.
    """

    records: Path

    @property
    def path(self) -> Path:
        """The file itself."""
        return self.records.with_name(f"{self.records.name}.job.json")

    def locked(self) -> AbstractContextManager[None]:
        """Keeps other processes from writing the records inside a `with` block.

        Raises:
            UserError: Another process writes them.
        """
        path = self.records
        busy = f"{path} is being written by another process, wait until it ends or choose another"
        lock = path.with_name(f".{path.name}.lock")
        return file_locked(lock, path, lambda: f"{busy} path", "writes there")

    def check(self, exists: bool, resume: bool) -> None:
        """Checks that the records can be created, or continued if they exist.

        Args:
            exists: Whether there are records.
            resume: Whether to continue records that exist.

        Raises:
            UserError: They cannot.
        """
        path = self.records
        if not path.parent.is_dir():
            raise UserError(f"no folder {path.parent} for {path.name}, create it first")
        if exists and not resume:
            raise UserError(
                f"{path} already exists, continue it with --resume or choose another path"
            )

    def begin(self, settings: JobSettings, resume: bool) -> None:
        """Writes the file of a new job. This comes before the records, so that they never lack it.

        Args:
            settings: The settings of the job.
            resume: Whether the user expected records to continue.
        """
        if resume:
            print(f"note: no {self.records} yet, beginning with the first source", file=sys.stderr)
        self.write(settings, complete=False)

    def write(self, settings: JobSettings, complete: bool) -> None:
        """Writes the file.

        Args:
            settings: The settings of the job.
            complete: Whether all its records are written.
        """
        document = {
            "format": FORMAT,
            "complete": complete,
            "settings": dataclasses.asdict(settings),
        }
        with written_whole(self.path, durable=True) as (part,):
            part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def read(self, settings: JobSettings) -> bool:
        """Checks that the records are those of a job with the same settings.

        Returns:
            Whether all records are written.

        Raises:
            UserError: They are not, or the file is missing or damaged.
        """
        try:
            document = read_json(self.path, REMEDY)
        except FileNotFoundError as error:
            raise UserError(
                f"{self.records} cannot be continued without {self.path.name}, restore it or "
                "choose another file"
            ) from error
        written = document.get("settings")
        if document.get("format") != FORMAT or not isinstance(written, dict):
            raise UserError(
                f"{self.path} is damaged or of another version of this project, {REMEDY}"
            )
        wanted = json.loads(json.dumps(dataclasses.asdict(settings)))
        difference = _describe_difference(written, wanted)
        if difference:
            raise UserError(
                f"{self.records} was begun with {difference}: use the same, or {REMEDY}"
            )
        return document.get("complete") is True


def note_unfinished(done: int, total: int, path: Path) -> None:
    """Says on standard error how to continue a job.

    Args:
        done: Number of sources whose records are written.
        total: Number of all its sources.
        path: The file or folder of records.
    """
    print(
        f"note: {done} of {counted(total, 'source')} are in {path}; to continue, run the same "
        "command with --resume",
        file=sys.stderr,
    )


def _describe_difference(written: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Describes the first setting that differs; None if all are the same."""
    if written.get("number_of_sources") != wanted["number_of_sources"]:
        return f"{written.get('number_of_sources')} sources, not {wanted['number_of_sources']}"
    # Model and sources come last, since a flag is easier to correct.
    names = {"model": "another model", "sources": "other sources, or in another order"}
    for key in sorted(wanted.keys() | written.keys(), key=lambda key: (key in names, key)):
        if written.get(key) != wanted.get(key):
            flag = f"--{key.replace('_', '-')}"
            old, new = (_in_words(each.get(key)) for each in (written, wanted))
            return names.get(key, f"{flag} {old}, not {new}")
    return None


def _in_words(value: object) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
