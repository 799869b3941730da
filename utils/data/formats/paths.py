"""Finds files that a dataset names by paths of another machine or relative to other folders."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from utils.data.images import IMAGE_SUFFIXES


def tails(text: str) -> Iterator[str]:
    """Yields a path and its ends, from long to short: `/a/b/c`, `a/b/c`, `b/c`, `c`.

    Backslashes count as slashes; parts `.` and `..` at the start are left out of the ends.
    """
    text = text.strip().replace("\\", "/")
    yield text
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
            if tail and _exists(path := base / tail):
                return path
    return None


class ImageFinder:
    """Finds images by the names that an annotation file gives them.

    Args:
        bases: Folders to search, the most probable one first.
    """

    def __init__(self, bases: Sequence[Path]) -> None:
        self._bases = list(dict.fromkeys(base for base in bases if base.is_dir()))
        self._root = min(self._bases, key=lambda base: len(base.parts), default=None)

    def find(self, name: str) -> Path | None:
        """Returns the image that a name means as it is; None if it does not exist."""
        name = name.replace("\\", "/")
        return next((path for base in self._bases if _is_file(path := base / name)), None)

    def find_moved(self, name: str) -> Path | None:
        """Returns the image at the longest end of a name, or the only one with its last part."""
        found = find_path(name, self._bases)
        if found is None:
            same_name = self._by_name[name.replace("\\", "/").rpartition("/")[2]]
            found = same_name[0] if len(same_name) == 1 else None
        return found if found and _is_file(found) else None

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for path in find_images(self._root) if self._root else ():
            found[path.name].append(path)
        return found


def find_images(folder: Path) -> list[Path]:
    """Returns all images in a folder and its sub-folders, sorted; hidden files are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or contains a null character
        return False


def _is_file(path: Path) -> bool:
    return _exists(path) and path.is_file()
