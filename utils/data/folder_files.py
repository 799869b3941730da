"""The files of a folder, each of which is read once, and only if it is not known from a cache."""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from utils.data.annotation_cache import CachedFiles, Stamp, settled
from utils.data.faults import Fault
from utils.data.parallel import read_all

CHUNK = 64  # files whose stamps a thread reads at once
NO_STAMP: Stamp = (-1, -1, -1)  # of a file that cannot be kept; equal to no other


class FolderFiles:
    """The files of one kind in a folder, and what was read from them.

    Args:
        folder: The folder.
        names: Names of the files by image id.
        cached: What an earlier job kept.
        read: Reads a file; returns its content or a fault.
        description: What is read, for the progress bar.

    Attributes:
        folder: The folder.
        names: Names of the files by image id.
        table: The content of the files that were read and have no fault.
        row_of: Row of `table` by image id.
        faults: Why the others that were read cannot be used, by image id.
        news: Number of files with content that an earlier job did not keep.
    """

    def __init__(
        self,
        folder: Path,
        names: dict[str, str],
        cached: CachedFiles,
        read: Callable[[Path], object],
        description: str,
    ):
        self.names = names
        self.table = cached.table.take(np.zeros(0, int))
        self.row_of: dict[str, int] = {}
        self.faults: dict[str, Fault] = {}
        self.news = 0
        self.folder = folder
        self._stamps = np.zeros((0, 3), np.int64)
        self._cached = cached
        self._cached_row = {name: row for row, name in enumerate(cached.names)}
        self._read = read
        self._description = description

    def path(self, image_id: str) -> Path:
        """Returns the file of an image."""
        return self.folder / self.names[image_id]

    def read(self, image_ids: Iterable[str]) -> None:
        """Reads the files of images, except those that are missing or were read before.

        Raises:
            JobError: The disk or network folder does not respond.
        """
        names, row_of, faults = self.names, self.row_of, self.faults
        unique = dict.fromkeys(image_ids)
        if unique.keys() <= row_of.keys():
            return
        wanted = [
            each for each in unique if each in names and each not in row_of and each not in faults
        ]
        if not wanted:
            return
        # Before the files are read: one that changes meanwhile has another stamp next time.
        stamps = self._stamps_of(wanted)
        stamps[~settled(stamps)] = NO_STAMP
        unchanged, rows = self._unchanged(wanted, stamps)
        same = [wanted[i] for i in unchanged] if len(unchanged) < len(wanted) else wanted
        self._add(same, self._cached.table.take(rows), stamps[unchanged])
        changed = np.setdiff1d(np.arange(len(wanted)), unchanged, assume_unique=True).tolist()
        paths = [self.path(wanted[i]) for i in changed]
        results = read_all(self._read, paths, self._description)
        usable, contents = [], []
        for i, result in zip(changed, results, strict=True):
            if isinstance(result, Fault):
                faults[wanted[i]] = result
            else:
                usable.append(i)
                contents.append(result)
        self._add([wanted[i] for i in usable], self.table.of(contents), stamps[usable])
        self.news += len(usable)

    def _stamps_of(self, image_ids: Sequence[str]) -> np.ndarray:
        folder, names = str(self.folder) + os.sep, self.names
        chunks = [image_ids[i : i + CHUNK] for i in range(0, len(image_ids), CHUNK)]
        found = read_all(
            lambda chunk: [_stamp_of(folder + names[each]) for each in chunk],
            chunks,
            "looking for changes",
            lambda chunk: folder + names[chunk[0]],
        )
        return np.array([*chain.from_iterable(found)], np.int64)

    def _unchanged(
        self, image_ids: Sequence[str], stamps: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices of unchanged files, and their rows in the table of the cache."""
        if not self._cached_row:
            return np.zeros(0, int), np.zeros(0, int)
        row_of, names = self._cached_row, self.names
        rows = np.array([row_of.get(names[each], -1) for each in image_ids])
        is_same = (rows >= 0) & (stamps == self._cached.stamps[rows]).all(axis=1)
        is_same &= (stamps != NO_STAMP).all(axis=1)
        return np.flatnonzero(is_same), rows[is_same]

    def _add(self, image_ids: list[str], table: object, stamps: np.ndarray) -> None:
        if image_ids:
            first = len(self.row_of)
            self.row_of |= zip(image_ids, range(first, first + len(image_ids)), strict=True)
            self.table = self.table.followed_by(table)
            self._stamps = np.concatenate([self._stamps, stamps])

    def to_keep(self) -> CachedFiles:
        """Returns the content of all files that a later job can use."""
        rows = np.flatnonzero((self._stamps != NO_STAMP).all(axis=1))
        ids = list(self.row_of)
        # Files that this job did not need, such as those of other image sets.
        others = {name for each, name in self.names.items() if each not in self.row_of}
        others -= {self.names[each] for each in self.faults}
        kept = [row for name, row in self._cached_row.items() if name in others]
        return CachedFiles(
            [self.names[ids[row]] for row in rows] + [self._cached.names[row] for row in kept],
            np.concatenate([self._stamps[rows], self._cached.stamps[kept]]),
            self.table.take(rows).followed_by(self._cached.table.take(np.array(kept, int))),
        )


def _stamp_of(path: str) -> Stamp:
    """Returns what changes with the content of a file; `NO_STAMP` if it cannot be kept."""
    try:
        status = os.stat(path)  # noqa: PTH116  a third of the time of Path.stat
    except OSError:
        return NO_STAMP  # reading it reports why
    if not stat.S_ISREG(status.st_mode):
        return NO_STAMP
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
