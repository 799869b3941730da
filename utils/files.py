"""Writing results: each under a name of its own, and none left half written."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from utils.errors import UserError


class OutputFolder:
    """A folder that hands out file names.

    Args:
        folder: made when it is not there.
        replace: whether files of earlier runs may be replaced; those of this one never are.
    """

    def __init__(self, folder: Path, replace: bool = True):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._replace = replace
        self._taken = set()

    def spare(self, paths: Iterable[Path]) -> None:
        """Keeps files, such as a run's own sources, from being overwritten."""
        self._taken |= {_identity(path) for path in paths}

    def path(self, name: str, suffix: str) -> Path:
        """Gives a path for a file called `name`, or `name-2`, `name-3`... where that is taken."""
        path, number = self.folder / f"{name}{suffix}", 1
        while _identity(path) in self._taken or (path.exists() and not self._replace):
            number += 1
            path = self.folder / f"{name}-{number}{suffix}"
        self._taken.add(_identity(path))
        return path


def _identity(path: Path) -> str:
    return str(path.resolve()).casefold()  # some file systems do not tell a.jpg from A.jpg


def refuse_existing(*paths: Path) -> None:
    """Sees to it that no file is replaced.

    Raises:
        UserError: one of them is there.
    """
    for path in paths:
        if path.exists():
            raise UserError(f"{path} is there already, name another file or move it away")


def part_of(path: Path) -> Path:
    """Where a file or folder is kept while it is being written."""
    return path.with_name(f".part.{path.name}")  # with its ending, which tells writers the format


@contextlib.contextmanager
def written_whole(*paths: Path) -> Iterator[list[Path]]:
    """Where to write some files: they take their places together, or none is left."""
    parts = [part_of(path) for path in paths]
    try:
        yield parts
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes an RGB uint8 `(height, width, 3)` image; JPEG at quality 95."""
    # The defaults of OpenCV, quality 95 for JPEG and lossless for the rest, are what is wanted.
    data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    try:
        with written_whole(path) as (part,):
            part.write_bytes(data)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
