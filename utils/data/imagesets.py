"""Which images a VOC folder has, and which of them a set or a split holds."""

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.data.images import IMAGE_SUFFIXES
from utils.errors import UserError

HELD_OUT = 0.1  # share of the training images kept for validation where no list names any
CLASS_COLUMN = re.compile(r"(.+?)\s+(?:-1|0|1)$")  # of lists of one class, such as cat_train.txt


@dataclass(frozen=True, order=True)
class ImageRef:
    """An image of a VOC folder, by its id: the name of its files without suffix."""

    voc_dir: Path
    image_id: str


def voc_dirs(data: Path) -> list[Path]:
    """The VOC folders of a devkit, `VOC2007` before `VOC2012`; or `data`, where it is one itself.

    Raises:
        UserError: There is none.
    """
    data = Path(data)
    if not data.is_dir():
        raise UserError(f"no folder {data}: name the VOCdevkit with --data")
    if (data / "Annotations").is_dir():
        return [data]
    found = sorted(path.parent for path in data.glob("VOC*/Annotations") if path.is_dir())
    if not found:
        raise UserError(
            f"no VOC folder in {data}: put images in {data / 'VOC2007' / 'JPEGImages'} "
            f"and their XML files in {data / 'VOC2007' / 'Annotations'}"
        )
    return found


def find_files(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Files of a folder by name without suffix, in Unicode's composed form, suffix in any case.

    Where two files share a name the suffix that stands first in `suffixes` wins.
    """
    ranks = {suffix: rank for rank, suffix in enumerate(suffixes)}
    found: dict[str, tuple[int, str]] = {}
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                rank = ranks.get(dot + suffix.lower())
                if rank is not None and not stem.startswith("."):
                    key = unicodedata.normalize("NFC", stem)
                    found[key] = min((rank, entry.path), found.get(key, (rank, entry.path)))
    return {stem: Path(path) for stem, (_, path) in sorted(found.items())}


def image_files(voc_dir: Path) -> dict[str, Path]:
    """Image files of a VOC folder by id."""
    return find_files(voc_dir / "JPEGImages", IMAGE_SUFFIXES)


def annotation_files(voc_dir: Path) -> dict[str, Path]:
    """Annotation files of a VOC folder by id."""
    return find_files(voc_dir / "Annotations", (".xml",))


def set_lists(voc_dir: Path) -> dict[str, Path]:
    """The lists in ImageSets/Main by name."""
    return find_files(voc_dir / "ImageSets" / "Main", (".txt",))


def list_images(data: Path, spec: str) -> list[ImageRef]:
    """The images of one or more sets.

    Args:
        data: A VOCdevkit.
        spec: Names of lists, separated by commas, each with its year or, without, of all years that
            have it: `trainval`, or `2007:trainval,2012:trainval`. `all` means every annotated
            image of folders without lists.

    Raises:
        UserError: No such list or year, or no image in it.
    """
    folders = voc_dirs(data)
    refs: dict[ImageRef, None] = {}  # an ordered set
    for item in spec.split(","):
        year, _, name = item.strip().rpartition(":")
        years = [path for path in folders if year in ("", path.name, path.name.removeprefix("VOC"))]
        if not years:
            have = ", ".join(path.name for path in folders)
            raise UserError(f"no year {year!r} in {data} for set {item!r}: it has {have}")
        lists = {path: set_lists(path) for path in years}
        having = [
            path for path, names in lists.items() if name in names or (name == "all" and not names)
        ]
        if not having:
            have = ", ".join(sorted(set().union(*lists.values()))) or "no lists, only `all`"
            raise UserError(f"no image set {name!r} in {years[0]}: it has {have}")
        for path in having:
            refs.update(dict.fromkeys(_read_set(path, lists[path].get(name))))
    if not refs:
        raise UserError(f"no image in set {spec!r} of {data}: its list is empty")
    return list(refs)


def resolve_splits(
    data: Path, train_spec: str | None = None, val_spec: str | None = None, seed: int = 0
) -> tuple[list[ImageRef], list[ImageRef], str]:
    """Images to train on and images to validate on.

    Each VOC folder gives its `train` and `val` where it has both, else a seeded 10% of its
    `trainval` (or `train`, or, without any lists, of all its annotated images) is held out. Named
    sets go first: with `train_spec` alone validation is `val` where that shares no image with it,
    else held out; with `val_spec` alone training is all the rest. What stands in `test` is used
    only where it is named.

    Args:
        data: A VOCdevkit.
        train_spec: Sets as `list_images` takes them.
        val_spec: The same.
        seed: Of the choice of what is held out.

    Returns:
        The images to train on, those to validate on, and a line that says where they came from.
    """
    if train_spec and val_spec:
        train, val = list_images(data, train_spec), list_images(data, val_spec)
        return train, val, f"train on {train_spec}, validate on {val_spec}"
    if train_spec:
        return _validate_beside(list_images(data, train_spec), train_spec, seed)
    if val_spec:
        val = list_images(data, val_spec)
        folders = voc_dirs(data)
        taken = {*val, *tested_images(folders)}
        train = [ref for ref in _pool(folders) if ref not in taken]
        if not train:
            raise UserError(f"no image left in {data} to train on beside {val_spec!r}")
        return train, val, f"train on all but {val_spec}, validate on {val_spec}"
    return _default_splits(data, seed)


def _default_splits(data: Path, seed: int) -> tuple[list[ImageRef], list[ImageRef], str]:
    folders = voc_dirs(data)
    lists = {path: set_lists(path) for path in folders}
    split = [path for path in folders if {"train", "val"} <= lists[path].keys()]
    train = [ref for path in split for ref in _read_set(path, lists[path]["train"])]
    val = [ref for path in split for ref in _read_set(path, lists[path]["val"])]
    told = ["train and val of " + ", ".join(path.name for path in split)] if split else []
    pool = _pool([path for path in folders if path not in split])
    tested = tested_images(folders)
    if not tested.isdisjoint(train + val + pool):
        total = len(train + val + pool)
        train, val, pool = ([r for r in refs if r not in tested] for refs in (train, val, pool))
        told.append(f"{total - len(train + val + pool)} images left out that stand in test too")
    if pool:
        kept, held_out = _hold_out(pool, seed)
        train, val = train + kept, val + held_out
        told.append(
            f"{len(held_out)} of {len(pool)} images held out for validation from "
            + ", ".join(dict.fromkeys(ref.voc_dir.name for ref in pool))
        )
    if not train or not val:
        have = ", ".join(sorted(set().union(*lists.values())))
        raise UserError(
            f"nothing to train on in {data}: it has {f'the sets {have}' if have else 'no XML file'}"
            "; name the sets with --train-set and --val-set"
        )
    if not tested:
        told.append("no test list: nothing is kept untouched for a last evaluation")
    return train, val, "; ".join(told)


def _validate_beside(
    train: list[ImageRef], spec: str, seed: int
) -> tuple[list[ImageRef], list[ImageRef], str]:
    folders = dict.fromkeys(ref.voc_dir for ref in train)
    lists = {path: set_lists(path).get("val") for path in folders}
    val = [ref for path, val_list in lists.items() if val_list for ref in _read_set(path, val_list)]
    if val and set(val).isdisjoint(train):
        return train, val, f"train on {spec}, validate on val"
    kept, held_out = _hold_out(train, seed)
    told = f"train on {spec}, {len(held_out)} of its {len(train)} images held out for validation"
    return kept, held_out, told


def _pool(folders: list[Path]) -> list[ImageRef]:
    """What there is to train on in folders without a train and val of their own."""
    refs = []
    for path in folders:
        lists = set_lists(path)
        name = next((name for name in ("trainval", "train") if name in lists), None)
        if name or not lists:
            refs += _read_set(path, lists.get(name))
    return refs


def tested_images(folders: list[Path]) -> set[ImageRef]:
    """What the test lists keep untouched."""
    lists = {path: set_lists(path).get("test") for path in folders}
    return {ref for path, test in lists.items() if test for ref in _read_set(path, test)}


def _hold_out(refs: list[ImageRef], seed: int) -> tuple[list[ImageRef], list[ImageRef]]:
    if len(refs) < 2:
        raise UserError("one image cannot both train and validate: add images, or use --val-set")
    count = max(1, round(HELD_OUT * len(refs)))
    chosen = set(np.random.default_rng(seed).permutation(len(refs))[:count].tolist())
    kept = [ref for i, ref in enumerate(refs) if i not in chosen]
    return kept, [refs[i] for i in sorted(chosen)]


def _read_set(voc_dir: Path, set_list: Path | None) -> list[ImageRef]:
    """The images a list names; without a list, all that have an annotation."""
    if set_list is None:
        return [ImageRef(voc_dir, image_id) for image_id in annotation_files(voc_dir)]
    text = unicodedata.normalize("NFC", read_text(set_list))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(CLASS_COLUMN.fullmatch(line) for line in lines):
        known = annotation_files(voc_dir).keys() | image_files(voc_dir).keys()
        lines = [line if line in known else CLASS_COLUMN.sub(r"\1", line) for line in lines]
    return [ImageRef(voc_dir, line) for line in dict.fromkeys(lines)]


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: It is in another encoding.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from error
