"""Finds files that a dataset names by paths of another machine or relative to other folders."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from utils.data.formats.names import sets_in
from utils.data.images import IMAGE_SUFFIXES

LONGEST_PATH = 4096  # characters; PATH_MAX of Linux


def tails(text: str) -> Iterator[str]:
    """Yields a path and its ends, from long to short: `/a/b/c`, `a/b/c`, `b/c`, `c`.

    Backslashes count as slashes; parts `.` and `..` at the start are left out of the ends.
    A text that is too long for a path has no other ends.
    """
    text = text.strip().replace("\\", "/")
    yield text
    if len(text) > LONGEST_PATH:
        return
    parts = [part for part in PurePosixPath(text).parts if part not in ("/", ".", "..")]
    for start in range(len(parts)):
        if (tail := "/".join(parts[start:])) != text:
            yield tail


def find_path(text: str, bases: Iterable[Path]) -> Path | None:
    """Finds a path, or its longest end that exists in one of several folders.

    Args:
        text: A path, absolute or relative.
        bases: Folders, the most probable one first.

    Returns:
        The path; None if it does not exist.
    """
    bases = list(dict.fromkeys(bases))
    for tail in tails(text):
        for base in bases:
            if tail and exists(path := base / tail):
                return path
    return None


def exists(path: Path) -> bool:
    """Whether a path exists; False for one that no file system allows."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or contains a null character
        return False


def _is_file(path: Path) -> bool:
    return exists(path) and path.is_file()


class ImageFinder:
    """Finds images by the names that an annotation file gives them.

    Args:
        bases: Folders to search, the most probable one first.
        set_name: The image set of the annotation file; None if it is unknown.
    """

    def __init__(self, bases: Sequence[Path], set_name: str | None = None) -> None:
        self._bases = list(dict.fromkeys(base for base in bases if base.is_dir()))
        self._root = min(self._bases, key=lambda base: len(base.parts), default=None)
        self._sets = sets_in(set_name or "")

    def find_exact(self, name: str) -> Path | None:
        """Returns the image with this path; None if there is none."""
        return next((path for base in self._bases if _is_file(path := base / name)), None)

    def find_moved(self, name: str) -> Path | None:
        """Returns the image at the longest end of a path, or else the only one with its last part.

        An image in a folder of another set is not the one that is meant.
        """
        found = find_path(name, self._bases)
        folder, _, last = name.rpartition("/")
        if found is None:
            same_name = self._by_name[last]
            found = same_name[0] if len(same_name) == 1 else None
        if found is None or not _is_file(found):
            return None
        sets = sets_in(os.path.relpath(found.parent, self._root))
        wanted = sets_in(folder) or self._sets
        return found if not sets or not wanted or sets & wanted else None

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for path in find_images(self._root) if self._root else ():
            found[path.name].append(path)
        return found


def find_named(wanted: Iterable[tuple[ImageFinder, str]]) -> list[Path | None]:
    """Finds images by the names that the annotation files of a dataset give them.

    Sets often number their images alike. So an image that is not where its name says is found by
    the end of the name only if no other name of the dataset means the same image.

    Args:
        wanted: For each image, the finder of its annotation file, and its name there.

    Returns:
        The image of each name; None if it does not exist.
    """
    wanted = [(finder, name.replace("\\", "/")) for finder, name in wanted]
    exact = [finder.find_exact(name) for finder, name in wanted]
    found = [
        path or finder.find_moved(name) for (finder, name), path in zip(wanted, exact, strict=True)
    ]
    names_of = defaultdict(set)
    for (_, name), path in zip(wanted, found, strict=True):
        names_of[path].add(name)
    return [
        path if path in (None, same) or len(names_of[path]) == 1 else None
        for path, same in zip(found, exact, strict=True)
    ]


def find_images(folder: Path) -> list[Path]:
    """Returns all images in a folder and its sub-folders, sorted; hidden files are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
