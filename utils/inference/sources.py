"""What people point a detector at: images, folders, globs, videos, cameras and streams."""

import glob
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from utils.data.images import IMAGE_SUFFIXES
from utils.errors import UserError

VIDEO_SUFFIXES = (
    *(".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
LONGEST_NAME = 100  # characters of a stream's address, for file systems that take 255 bytes


@dataclass(frozen=True)
class Source:
    """One thing to look for objects in.

    Attributes:
        address: a path, a camera's number or a URL.
        is_image: whether it is one still image; else it has frames.
        name: what files made from it are called, without suffix.
    """

    address: str
    is_image: bool
    name: str


def find_sources(words: Iterable[str]) -> list[Source]:
    """Finds out what each word on a command line means.

    A file or folder of that name comes first; then cameras (a number), streams (a URL) and globs.
    Folders and globs are gone through in natural order: `img2.jpg` before `img10.jpg`.

    Raises:
        UserError: there is no such file, or a folder or glob has no image and no video.
    """
    return [source for word in words for source in _find(word)]


def _find(word: str) -> list[Source]:
    path = Path(word)
    if path.is_dir():
        files = [file for file in path.iterdir() if _is_media(file)]
        if not files:
            raise UserError(f"folder {word} has no image and no video, name one that has")
    elif path.exists():
        files = [path]
    elif word.isdecimal():
        return [Source(word, False, f"camera{word}")]
    elif "://" in word:
        url = urlsplit(word)  # its user and password have no place in a file name
        name = re.sub(r"\W+", "_", f"{url.hostname}{url.path}").strip("_")
        return [Source(word, False, name[-LONGEST_NAME:])]
    elif glob.has_magic(word):
        # Path.glob takes no absolute pattern.
        matches = map(Path, glob.glob(word, recursive=True))  # noqa: PTH207
        files = [file for file in matches if _is_media(file)]
        if not files:
            raise UserError(f"no image and no video matches {word}, check the pattern")
    else:
        raise UserError(f"no file or folder {word}, check the path")
    return [
        Source(str(file), file.suffix.lower() not in VIDEO_SUFFIXES, file.stem)
        for file in sorted(files, key=_natural)
    ]


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES and path.is_file()


def _natural(path: Path) -> list[tuple[str, int]]:
    """Sorts digits as the numbers that they are."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", str(path))]


T = TypeVar("T")

_END = object()


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Makes items in a thread of their own, at most `depth` before they are asked for.

    An error while making one is raised where it is asked for. Close the generator to stop early.
    """
    items = iter(items)
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        waiting = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
