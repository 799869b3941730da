"""The folder of the parts of one job, which continues after any interruption."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from utils.errors import UserError
from utils.files import remove_parts
from utils.inference.job import JobFile, JobSettings, note_unfinished
from utils.inference.sources import SourceList
from utils.parts import PART
from utils.ray_jobs.manifest import Manifest
from utils.ray_jobs.parts import PartList
from utils.text import counted


def check_folder(path: Path, sources: SourceList, resume: bool) -> None:
    """Checks that the folder of a job can be created, or continued if it exists.

    Args:
        path: The folder.
        sources: The sources of the job.
        resume: Whether to continue a folder that exists.

    Raises:
        UserError: It cannot.
    """
    live = sources.find_live()
    if live:
        raise UserError(f"{live} is live and cannot be given to one of many, remove --workers")
    if path.exists() and not path.is_dir():
        raise UserError(
            f"{path} is not a folder, choose another path: with --workers, there are many files"
        )
    JobFile(path).check(_has_parts(path), resume)


@contextlib.contextmanager
def open_folder(
    path: Path, settings: JobSettings, parts: PartList, resume: bool
) -> Iterator[Manifest]:
    """Opens the folder of one job, which is complete if the block ends without an error.

    Otherwise, a note on standard error says how to continue.

    Args:
        path: The folder; created if it does not exist.
        settings: The settings of the job.
        parts: Its parts.
        resume: Whether to continue a folder that exists.

    Raises:
        UserError: The folder is not empty and `resume` is False, another process writes it, or it
            is of a job with other settings.
        OSError: A file cannot be written.
    """
    job = JobFile(path)
    with job.locked():
        has_parts = _has_parts(path)
        job.check(has_parts, resume)
        if has_parts:
            job.read(settings)
            remove_parts(path)
        else:
            job.begin(settings, resume)
            path.mkdir(exist_ok=True)
        manifest = Manifest(path, {parts.name(number) for number in range(len(parts))})
        try:
            yield manifest
        except BaseException:
            note_unfinished(manifest.sources, parts.number_of_sources, path)
            raise
        deaths = len([*path.glob(f"{PART}*")])
        if deaths:
            print(
                f"note: workers died {counted(deaths, 'time')}, others have written their parts",
                file=sys.stderr,
            )
            remove_parts(path)
        job.write(settings, complete=True)


def _has_parts(path: Path) -> bool:
    return path.exists() and any(path.iterdir())
