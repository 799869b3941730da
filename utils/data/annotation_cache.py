"""Keeps what was read from a VOC folder, so that the next job does not read every file again.

A file counts as unchanged if its name, size, time of modification and time of the last change of
its entry (ctime) are the same. A program can set the first three, for example an archiver, but not
the last one. Files that changed just before they were read are not kept: within the resolution of
the clock of a file system, they could change again without a trace.

The cache is in the folder of the user, `~/.cache/swapyolo` or `$XDG_CACHE_HOME/swapyolo`: folders
of data can be read-only or belong to others. It holds no objects of Python, and can be deleted at
any time.
"""

import os
import sys
import time
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data.tables import AnnotationTable, ImageTable
from utils.files import written_whole
from utils.npz import DAMAGE

FORMAT = 2  # increase it if the meaning of the columns, or of what the readers return, changes
SETTLED = 2 * 10**9  # nanoseconds; the coarsest clock, of FAT

Stamp = tuple[int, int, int]  # size, time of modification, ctime


class CachedFiles(NamedTuple):
    """Files of one kind and what was read from them.

    Attributes:
        names: Names of the N files.
        stamps: int64 (N, 3), see `Stamp`.
        table: Their content.
    """

    names: list[str]
    stamps: np.ndarray
    table: AnnotationTable | ImageTable


class FolderCache(NamedTuple):
    """What is known of a VOC folder.

    Attributes:
        annotations: Files in `Annotations`.
        images: Files in `JPEGImages`.
    """

    annotations: CachedFiles
    images: CachedFiles


def empty_cache() -> FolderCache:
    """Returns the cache of a folder of which nothing is known."""
    none = np.zeros((0, 3), np.int64)
    return FolderCache(
        CachedFiles([], none, AnnotationTable.of([])), CachedFiles([], none, ImageTable.of([]))
    )


def settled(stamps: np.ndarray) -> np.ndarray:
    """Returns which files (N,) changed long enough ago to be kept, see above."""
    return stamps[:, 1:].max(axis=1, initial=0) < time.time_ns() - SETTLED


def cache_path(voc_dir: Path) -> Path:
    """Returns the file for a VOC folder.

    Raises:
        RuntimeError: The user has no home folder.
    """
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = voc_dir.resolve()
    digest = blake2b(os.fsencode(path), digest_size=8).hexdigest()
    return Path(folder) / "swapyolo" / f"data-{digest}.npz"


def load_cache(voc_dir: Path) -> FolderCache:
    """Loads what an earlier job kept; empty if it kept nothing, or if the file is damaged."""
    try:
        path = cache_path(voc_dir)
    except RuntimeError:
        return empty_cache()
    if not path.is_file():
        return empty_cache()
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}  # verifies their CRC
        if columns["format"].tolist() != [FORMAT]:
            return empty_cache()
        return _from_columns(columns)
    except (*DAMAGE, LookupError) as error:
        print(
            f"note: {path} is damaged ({error}), so all files of {voc_dir} are read again",
            file=sys.stderr,
        )
        return empty_cache()


def save_cache(voc_dir: Path, cache: FolderCache) -> None:
    """Keeps what is known of a folder; reports on standard error if that is not possible."""
    columns = {"format": np.array([FORMAT])}
    for kind, (names, stamps, table) in zip(("xml", "image"), cache, strict=True):
        columns |= {f"{kind}_files": _pack(names), f"{kind}_stamps": stamps}
        columns |= {f"{kind}_{name}": column for name, column in table._asdict().items()}
    columns["xml_classes"] = _pack(cache.annotations.table.classes)
    try:
        path = cache_path(voc_dir)
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path, shared=True) as (part,), part.open("wb") as file:
            np.savez(file, **columns)
    except (OSError, RuntimeError) as error:
        print(
            f"note: cannot keep what was read from {voc_dir} ({error}), so the next start reads "
            "all files again; set XDG_CACHE_HOME to a folder that can be written",
            file=sys.stderr,
        )


def _from_columns(columns: dict[str, np.ndarray]) -> FolderCache:
    """Builds a cache from columns of a file.

    Raises:
        ValueError: The columns do not fit each other.
        LookupError: A column is missing.
    """
    classes = _unpack(columns["xml_classes"])
    table = AnnotationTable(
        *(columns[f"xml_{name}"] for name in AnnotationTable._fields[:-1]), classes
    )
    images = ImageTable(*(columns[f"image_{name}"] for name in ImageTable._fields))
    cache = FolderCache(
        CachedFiles(_unpack(columns["xml_files"]), columns["xml_stamps"], table),
        CachedFiles(_unpack(columns["image_files"]), columns["image_stamps"], images),
    )
    objects = len(table.boxes)
    for found, models in zip(cache, empty_cache(), strict=True):
        count = len(found.names)
        is_image = isinstance(found.table, ImageTable)
        lengths = [count] * 3 if is_image else [count, count + 1, *[objects] * 4]
        # `zip` ends before the names of the classes.
        arrays = zip((found.stamps, *found.table), (models.stamps, *models.table), strict=True)
        for (column, like), length in zip(arrays, (count, *lengths), strict=False):
            if column.dtype != like.dtype or column.shape != (length, *like.shape[1:]):
                raise ValueError("a column has another shape")
    starts, class_of = table.starts, table.class_of
    is_ordered = starts[0] == 0 and starts[-1] == objects and (np.diff(starts) >= 0).all()
    is_known = not objects or (class_of.min() >= 0 and class_of.max() < len(classes))
    if not (is_ordered and is_known):
        raise ValueError("an index is out of range")
    return cache


def _pack(texts: list[str]) -> np.ndarray:
    """Stores texts without null characters; file names may hold bytes that are not UTF-8."""
    return np.frombuffer("\0".join([*texts, ""]).encode("utf-8", "surrogatepass"), np.uint8)


def _unpack(column: np.ndarray) -> list[str]:
    return column.tobytes().decode("utf-8", "surrogatepass").split("\0")[:-1]
