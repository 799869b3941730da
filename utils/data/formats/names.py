"""Names of images and of the sets that list them."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from utils.data.faults import RENAMED, Fault
from utils.data.formats.records import TEST, TRAIN, TRAINVAL, VAL
from utils.text import clean_file_name, printable, unique_file_names

SET_OF_WORD = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "trainval": TRAINVAL,
    "test": TEST,
    "testing": TEST,
}
YEAR = re.compile(r"[-_]?(19|20)\d\d$")


def set_of(word: str) -> str | None:
    """Returns the image set that a word means, such as `val` for `valid` or `val2017`."""
    return SET_OF_WORD.get(YEAR.sub("", word.lower()))


def sets_in(path: str) -> set[str]:
    """Returns the image sets that folders or lists in a path name; `trainval` is also both."""
    parts = path.replace("\\", "/").split("/")
    sets = {name for part in parts if (name := set_of(part.removesuffix(".txt")))}
    return sets | {TRAIN, VAL} if TRAINVAL in sets else sets


def set_in(text: str) -> str | None:
    """Returns the first image set that a text names, such as `train` for `bccd_train_v2`."""
    words = re.split(r"[^a-z0-9]+", text.lower())
    return next(filter(None, map(set_of, words)), None)


def as_set_name(text: str) -> str:
    """Returns a text as the name of a list, without the separators of paths and flags."""
    name = clean_file_name(printable(re.sub(r"[\s,:/\\]+", "_", text)))
    return name.lstrip("._") or "set"  # hidden lists are ignored


def unique_names(paths: Sequence[Path], root: Path) -> tuple[list[str], list[Fault]]:
    """Makes names without suffix for images that will be in one folder.

    An image keeps its name if that is valid and no other image has it, regardless of case and
    suffix. Otherwise, the folders below `root` become a part of its name.

    Args:
        paths: The images, all different.
        root: The folder of the dataset.

    Returns:
        The names and a fault for each image whose name changes.
    """
    stems = [unicodedata.normalize("NFC", path.stem) for path in paths]
    counts = Counter(stem.casefold() for stem in stems)
    wanted = [
        stem if counts[stem.casefold()] == 1 else _name_with_folders(path, root)
        for path, stem in zip(paths, stems, strict=True)
    ]
    # `find_files` ignores hidden files, and lists of images are stripped of spaces.
    names = unique_file_names(printable(name.lstrip(".").strip()) for name in wanted)
    faults = [
        Fault(RENAMED, path, f"is called {name}{path.suffix}")
        for path, stem, name in zip(paths, stems, names, strict=True)
        if name != stem
    ]
    return names, faults


def _name_with_folders(path: Path, root: Path) -> str:
    relative = Path(os.path.relpath(path, root)).with_suffix("")
    parts = [part for part in relative.parts if part not in ("..", os.sep)]
    return unicodedata.normalize("NFC", "_".join(parts))
