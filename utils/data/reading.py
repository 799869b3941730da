"""Reads images during a long job: tries again after an error, and counts what stays unreadable."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from utils.data.images import read_image
from utils.errors import JobError, UserError

PAUSES = (0.1, 0.5, 2.0)  # seconds before each further attempt to read an image
MAX_SHARE = 0.01  # of the images may be unreadable before the job fails, but always one
MAX_IN_A_ROW = 10  # unreadable images without one that can be read: the storage has failed


def read_patiently(
    path: Path,
    min_size: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
    pauses: tuple[float, ...] | None = None,
) -> np.ndarray:
    """Reads an image like `read_image`, but tries again if that fails.

    A share can be unavailable for a moment, and a file can be replaced while it is read.

    Args:
        path: The file.
        min_size: Height and width that the caller needs, see `read_image`.
        size: Height and width of the image as decoded, if known.
        pauses: Seconds before each further attempt; None for `PAUSES`.

    Raises:
        UserError: The file is damaged or not an image.
        OSError: The file cannot be read.
    """
    for pause in PAUSES if pauses is None else pauses:
        try:
            return read_image(path, min_size, size)
        except (UserError, OSError):
            time.sleep(pause)
    return read_image(path, min_size, size)


@dataclass(frozen=True)
class Unreadable:
    """An image that stays unreadable.

    Attributes:
        path: The file.
        reason: What is wrong, in one line.
    """

    path: Path
    reason: str


class PatientReader:
    """Reads images patiently, but does not wait again for those that failed once.

    They would delay every epoch.
    """

    def __init__(self) -> None:
        self._pauses = PAUSES
        self._failed: set[Path] = set()

    def read(
        self, path: Path, min_size: tuple[int, int], size: tuple[int, int]
    ) -> np.ndarray | Unreadable:
        """Reads an image, see `read_patiently`."""
        try:
            return read_patiently(
                path, min_size, size, () if path in self._failed else self._pauses
            )
        except (UserError, OSError) as error:
            self._failed.add(path)
            return Unreadable(path, describe_read_error(error, path))


class UnreadableImages:
    """Counts the unreadable images of a job, from several threads.

    Args:
        count: Number of images of the job.
    """

    def __init__(self, count: int) -> None:
        self._allowed = min(max(1, int(MAX_SHARE * count)), count - 1)
        self._failed: set[Path] = set()
        self._in_a_row: set[Path] = set()
        self._warnings: list[str] = []
        self._lock = Lock()

    def count(self, outcomes: Iterable[Unreadable | None]) -> None:
        """Counts what became of images that were read.

        Args:
            outcomes: None for each image that could be read.

        Raises:
            JobError: More than `MAX_SHARE` of the images are unreadable, or `MAX_IN_A_ROW` of them
                without one in between that can be read.
        """
        with self._lock:
            for outcome in outcomes:
                if outcome is None:
                    self._in_a_row.clear()
                else:
                    self._count(outcome)

    def take_warnings(self) -> list[str]:
        """Returns one line per image that became unreadable since the last call."""
        with self._lock:
            warnings, self._warnings = self._warnings, []
        return warnings

    def _count(self, image: Unreadable) -> None:
        is_new = image.path not in self._failed
        self._failed.add(image.path)
        self._in_a_row.add(image.path)
        failed = len(self._failed)
        if failed > self._allowed or len(self._in_a_row) >= MAX_IN_A_ROW:
            raise JobError(
                f"{image.reason}; {failed} images have become unreadable: check the disk or share, "
                "then start again, or continue a run with --resume"
            )
        if is_new:
            self._warnings.append(
                f"{image.reason}; grey is used instead ({failed} unreadable, at most "
                f"{self._allowed} before training stops)"
            )


def describe_read_error(error: Exception, path: Path | str | None = None) -> str:
    """Describes in one line why an image cannot be read.

    Args:
        error: The error of `read_image`.
        path: The file; None for the one that the error names.
    """
    if isinstance(error, OSError):
        path = path or error.filename or "an image"
        return f"cannot read image {path}: {(error.strerror or str(error)).lower()}"
    return str(error)
