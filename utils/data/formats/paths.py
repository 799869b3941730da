"""Finds files that a dataset names by paths of another machine or relative to other folders."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

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
    """

    def __init__(self, bases: Sequence[Path]) -> None:
        self._bases = list(dict.fromkeys(base for base in bases if base.is_dir()))
        self._root = min(self._bases, key=lambda base: len(base.parts), default=None)

    def find(self, names: Sequence[str]) -> list[Path | None]:
        """Returns the image that each name means; None for one that does not exist.

        For a name that does not exist as it is, this is the image at the longest end of the name,
        or the only one with its last part, unless another name means that image.
        """
        exact = [self._find_exact(name.replace("\\", "/")) for name in names]
        taken = set(exact)
        return [
            path or self._find_moved(name, taken) for name, path in zip(names, exact, strict=True)
        ]

    def _find_exact(self, name: str) -> Path | None:
        return next((path for base in self._bases if _is_file(path := base / name)), None)

    def _find_moved(self, name: str, taken: Collection[Path | None]) -> Path | None:
        found = find_path(name, self._bases)
        if found is None:
            same_name = self._by_name[name.replace("\\", "/").rpartition("/")[2]]
            found = same_name[0] if len(same_name) == 1 else None
        return found if found and found not in taken and _is_file(found) else None

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
