"""Finds the sources of prediction: images, folders, globs, videos, cameras and streams."""

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from utils.data.images import IMAGE_SUFFIXES
from utils.errors import UserError
from utils.text import MAX_FILE_NAME

VIDEO_SUFFIXES = (
    *(".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)


@dataclass(frozen=True)
class Source:
    """One image, video, camera or stream.

    Attributes:
        address: A path, the number of a camera, or a URL.
        is_image: Whether it is a still image, and not a video, camera or stream.
        name: Name without suffix for files that are written for it.
    """

    address: str
    is_image: bool
    name: str


def find_sources(words: Iterable[str]) -> list[Source]:
    """Finds the sources that the words of a command line specify.

    A word is an existing file or folder if there is one with that name. Otherwise it is a camera
    (a number), a stream (a URL) or a glob. Files of folders and globs are in natural order:
    `img2.jpg` before `img10.jpg`.

    Raises:
        UserError: There is no such file, or a folder or glob has neither images nor videos.
    """
    return [source for word in words for source in _resolve(word)]


def _resolve(word: str) -> list[Source]:
    path = Path(word)
    if path.is_dir():
        files = [file for file in path.iterdir() if _is_media(file)]
        if not files:
            raise UserError(f"folder {word} has no image and no video, choose another one")
    elif path.exists():
        files = [path]
    elif word.isdecimal():
        return [Source(word, False, f"camera{word}")]
    elif "://" in word:
        url = urlsplit(word)  # file names must not contain user and password
        name = re.sub(r"\W+", "_", f"{url.hostname}{url.path}").strip("_")
        return [Source(word, False, name[-MAX_FILE_NAME:])]
    elif glob.has_magic(word):
        # Path.glob does not take absolute patterns.
        matches = map(Path, glob.glob(word, recursive=True))  # noqa: PTH207
        files = [file for file in matches if _is_media(file)]
        if not files:
            raise UserError(f"no image and no video matches {word}, check the pattern")
    else:
        raise UserError(f"no file or folder {word}, check the path")
    return [
        Source(str(file), file.suffix.lower() not in VIDEO_SUFFIXES, file.stem)
        for file in sorted(files, key=_natural_order)
    ]


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES and path.is_file()


def _natural_order(path: Path) -> list[tuple[str, int]]:
    """Returns a sort key that compares digits as numbers."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", str(path))]
