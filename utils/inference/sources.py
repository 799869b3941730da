"""Finds the sources of prediction: images, folders, globs, videos, cameras and streams."""

import glob
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from utils.data.images import IMAGE_SUFFIXES, check_regular
from utils.errors import UserError
from utils.inference.animation import is_animation
from utils.lookahead import read_one
from utils.text import MAX_FILE_NAME, counted, first_few

VIDEO_SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
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
    """

    address: str
    is_image: bool
    name: str


def find_sources(words: Iterable[str]) -> list[Source]:
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
    return [source for word in words for source in _resolve(word)]


def _resolve(word: str) -> list[Source]:
    path = Path(word)
    exists = read_one(Path.exists, path)
    if path.is_dir():
        files = _media(path.iterdir(), word)
        if not files:
            raise UserError(f"folder {word} has no image and no video, choose another one")
    elif exists:
        check_regular(path)
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
        files = _media(matches, word)
        if not files:
            raise UserError(f"no image and no video matches {word}, check the pattern")
    else:
        raise UserError(f"no file or folder {word}, check the path")
    return [
        Source(str(file), not _is_video(file), file.stem)
        for file in sorted(files, key=_natural_order)
    ]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES or is_animation(path)


def _media(paths: Iterable[Path], word: str) -> list[Path]:
    """Returns the images and videos of a folder or glob; names what looks like one but is not."""
    media, skipped = [], []
    for path in paths:
        suffix = path.suffix.lower()
        is_known = suffix in IMAGE_SUFFIXES + VIDEO_SUFFIXES
        if is_known and path.is_file():
            media.append(path)
        elif not path.name.startswith(".") and (
            is_known or (suffix not in OTHER_SUFFIXES and not path.is_dir())
        ):
            skipped.append(path.name)
    if skipped:
        print(
            f"warning: skipped {counted(len(skipped), 'file')} of {word}, not a regular image or "
            f"video file of a supported format: {first_few(skipped)}",
            file=sys.stderr,
        )
    return media


def _natural_order(path: Path) -> list[tuple[str, int]]:
    """Returns a sort key that compares digits as numbers."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", str(path))]
