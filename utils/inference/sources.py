"""Finds the sources of prediction: images, folders, globs, videos, cameras and streams."""

import glob
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload
from urllib.parse import urlsplit

from utils.data.images import IMAGE_SUFFIXES
from utils.errors import UserError
from utils.inference.animation import ANIMATION_SUFFIXES, is_animation
from utils.lookahead import read_one
from utils.parts import is_part
from utils.regular_files import check_regular
from utils.text import MAX_FILE_NAME, counted, first_few

VIDEO_SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
KNOWN_SUFFIXES = frozenset(IMAGE_SUFFIXES + VIDEO_SUFFIXES)
# Files that often accompany images. Others in a folder that cannot be read are named.
OTHER_SUFFIXES = (
    *(".cfg", ".csv", ".doc", ".docx", ".gz", ".h5", ".html", ".ini", ".js", ".json", ".jsonl"),
    *(".log", ".md", ".names", ".npy", ".npz", ".pdf", ".pth", ".py", ".rar", ".rst", ".sh"),
    *(".srt", ".tar", ".tsv", ".txt", ".weights", ".xls", ".xlsx", ".xml", ".yaml", ".yml"),
    *(".zip", ".db", ".aac", ".mp3", ".wav", ".thm", ".aae", ".xmp", ".part", ".tmp", ".bak"),
)


@dataclass(frozen=True)
class Source:
    """One image, video, camera or stream.

    Attributes:
        address: A path, the number of a camera, or a URL.
        is_image: Whether it is a still image, and not a video, camera or stream.
        name: Name without suffix for files that are written for it.
        index: Position in the list of all sources.
    """

    address: str
    is_image: bool
    name: str
    index: int = 0


class SourceList(Sequence[Source]):
    """Sources in order, or a part of them.

    Of files, only the paths are stored: a million take about 100 MB. What kind a file is, is found
    out when the source is used. Parts share the storage of the list.

    Args:
        items: Paths of files; cameras and streams.
        indices: Positions of the part in `items`; None for all.

    Attributes:
        indices: Positions of the sources in the list of all sources.
    """

    def __init__(self, items: Sequence[str | Source], indices: range | None = None):
        self._items = items
        self.indices = range(len(items)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, key: int) -> Source: ...

    @overload
    def __getitem__(self, key: slice) -> "SourceList": ...

    def __getitem__(self, key: int | slice) -> "Source | SourceList":
        if isinstance(key, slice):
            return SourceList(self._items, self.indices[key])
        index = self.indices[key]
        item = self._items[index]
        if isinstance(item, Source):
            return replace(item, index=index)
        return Source(item, not _is_video(Path(item)), Path(item).stem, index)

    def address(self, position: int) -> str:
        """Returns the address of a source, without a look at the file."""
        item = self._items[self.indices[position]]
        return item.address if isinstance(item, Source) else item

    def is_video_file(self, position: int) -> bool:
        """Returns whether a source is a video by its suffix, without a look at the file."""
        return self.address(position).lower().endswith(VIDEO_SUFFIXES)

    def find_live(self) -> str | None:
        """Returns the address of the first camera or stream; None if all sources are files."""
        items = (self._items[index] for index in self.indices)
        return next((item.address for item in items if isinstance(item, Source)), None)

    def digest(self) -> str:
        """Returns the BLAKE2b of the addresses of all sources, also if this is a part of them."""
        digest = hashlib.blake2b(digest_size=16)
        for item in self._items:
            address = item.address if isinstance(item, Source) else item
            digest.update(os.fsencode(address) + b"\0")
        return digest.hexdigest()


def find_sources(words: Iterable[str]) -> SourceList:
    """Finds the sources that the words of a command line specify.

    A word is an existing file or folder if there is one with that name. Otherwise it is a camera
    (a number), a stream (a URL) or a glob. Files of folders and globs are in natural order:
    `img2.jpg` before `img10.jpg`. Files in them that look like images or videos, but cannot be
    read, are named on standard error.

    Raises:
        UserError: There is no such file, it is not a regular one, or a folder or glob has neither
            images nor videos.
        JobError: The disk or the network folder of a file does not respond.
    """
    return SourceList([item for word in words for item in _resolve(word)])


def _resolve(word: str) -> list[str | Source]:
    if not word:  # perhaps a shell variable that is not set; Path would be the current folder
        raise UserError("a SOURCE is empty, specify an image, folder, video, camera or stream")
    path = Path(word)
    exists = read_one(Path.exists, path)
    if path.is_dir():
        with os.scandir(path) as entries:  # they know what they are without a call per file
            files = _media(entries, word)
        if not files:
            raise UserError(f"folder {word} has no image and no video, choose another one")
    elif exists:
        check_regular(path)
        return [str(path)]
    elif word.isdecimal():
        return [Source(word, False, f"camera{word}")]
    elif "://" in word:
        url = urlsplit(word)  # file names must not contain user and password
        name = re.sub(r"\W+", "_", f"{url.hostname}{url.path}").strip("_")
        return [Source(word, False, name[-MAX_FILE_NAME:])]
    elif glob.has_magic(word):
        # Path.glob does not take absolute patterns.
        matches = map(Path, glob.iglob(word, recursive=True))  # noqa: PTH207
        files = _media(matches, word)
        if not files:
            raise UserError(f"no image and no video matches {word}, check the pattern")
    else:
        raise UserError(f"no file or folder {word}, check the path")
    files.sort()  # names that differ only in leading zeros have no natural order
    files.sort(key=_natural_order)
    return files


def _is_video(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES or (
        suffix in ANIMATION_SUFFIXES and read_one(is_animation, path)
    )


def _media(entries: Iterable[Path | os.DirEntry[str]], word: str) -> list[str]:
    """Returns the images and videos of a folder or glob; names what looks like one but is not."""
    media, skipped = [], []
    for entry in entries:
        path = Path(entry)
        if is_part(path):  # of an output folder
            continue
        suffix = path.suffix.lower()
        is_known = suffix in KNOWN_SUFFIXES
        if is_known and entry.is_file():
            media.append(str(path))
        elif not path.name.startswith(".") and (
            is_known or (suffix not in OTHER_SUFFIXES and not entry.is_dir())
        ):
            skipped.append(path.name)
    if skipped:
        print(
            f"warning: skipped {counted(len(skipped), 'file')} of {word}, not a regular image or "
            f"video file of a supported format: {first_few(skipped)}",
            file=sys.stderr,
        )
    return media


def _natural_order(path: str) -> str:
    """Returns a sort key that compares digits as numbers.

    It is a text, since a list of parts takes several times the memory. A number is written as a
    zero byte, which no path contains, its length and its digits.
    """
    return re.sub(r"\d+", lambda match: _sortable(int(match[0])), path)


def _sortable(number: int) -> str:
    digits = str(number)
    return f"\0{chr(len(digits))}{digits}"
