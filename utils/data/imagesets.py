"""Lists the images of VOC folders, of image sets and of splits."""

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.data.images import IMAGE_SUFFIXES
from utils.errors import UserError
from utils.files import written_whole

HELD_OUT = 0.1  # fraction of the images that is held out if there is no list of validation images
CLASS_COLUMN = re.compile(r"(.+?)\s+(?:-1|0|1)$")  # in lists of one class, such as cat_train.txt


@dataclass(frozen=True, order=True)
class ImageRef:
    """An image of a VOC folder.

    Attributes:
        voc_dir: The folder, such as VOCdevkit/VOC2007.
        image_id: Name of the image and of its annotation without suffix.
    """

    voc_dir: Path
    image_id: str


@dataclass(frozen=True)
class Split:
    """The images of a training run.

    Attributes:
        train: The images to train on.
        val: The images to validate on.
        description: How the images were chosen, in one line to be shown to the user.
    """

    train: list[ImageRef]
    val: list[ImageRef]
    description: str


def voc_dirs(data: Path) -> list[Path]:
    """Returns the VOC folders of a devkit, `VOC2007` before `VOC2012`, or `data` if it is one.

    Raises:
        UserError: There is none.
    """
    data = Path(data)
    if not data.is_dir():
        raise UserError(f"no folder {data}: specify the VOCdevkit with --data")
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
    """Finds the files of a folder by suffix, regardless of its case.

    Args:
        folder: Any folder; it need not exist.
        suffixes: Suffixes with a dot. Of two files with the same name, the one whose suffix comes
            first here is used.

    Returns:
        Paths by name without suffix, sorted; names are in the composed form of Unicode (NFC).
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
    """Returns the image files of a VOC folder by id."""
    return find_files(voc_dir / "JPEGImages", IMAGE_SUFFIXES)


def annotation_files(voc_dir: Path) -> dict[str, Path]:
    """Returns the annotation files of a VOC folder by id."""
    return find_files(voc_dir / "Annotations", (".xml",))


def set_lists(voc_dir: Path) -> dict[str, Path]:
    """Returns the lists in ImageSets/Main by name."""
    return find_files(voc_dir / "ImageSets" / "Main", (".txt",))


def write_set_list(path: Path, image_ids: Iterable[str]) -> None:
    """Writes the list of an image set; its folder is created if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as (part,):
        part.write_text("".join(f"{image_id}\n" for image_id in image_ids), encoding="utf-8")


def list_images(data: Path, spec: str) -> list[ImageRef]:
    """Lists the images of one or more image sets.

    Args:
        data: A VOCdevkit.
        spec: Names of sets, separated by commas. A name can have a year (`2007:trainval`);
            otherwise it selects the set in all years that have it. `all` selects every annotated
            image, whether or not a list contains it, unless a list has this name.

    Raises:
        UserError: There is no such set or year, or it has no image.
    """
    folders = voc_dirs(data)
    refs: dict[ImageRef, None] = {}  # an ordered set
    for item in spec.split(","):
        year, _, name = item.strip().rpartition(":")
        years = [path for path in folders if year in ("", path.name, path.name.removeprefix("VOC"))]
        if not years:
            known = ", ".join(path.name for path in folders)
            raise UserError(f"no year {year!r} in {data} for set {item!r}: it has {known}")
        lists = {path: set_lists(path) for path in years}
        chosen = [path for path, names in lists.items() if name in names or name == "all"]
        if not chosen:
            known = ", ".join(sorted(set().union(*lists.values()))) or "no lists"
            raise UserError(
                f"no image set {name!r} in {years[0]}: it has {known}; `all` selects every "
                "annotated image"
            )
        for path in chosen:
            refs.update(dict.fromkeys(_read_set(path, lists[path].get(name))))
    if not refs:
        is_all = spec.rpartition(":")[2] == "all"
        cause = "there is no annotation" if is_all else "its list is empty"
        raise UserError(f"no image in set {spec!r} of {data}: {cause}")
    return list(refs)


def resolve_splits(
    data: Path,
    train_set: str | None = None,
    val_set: str | None = None,
    seed: int = 0,
    held_out: float = HELD_OUT,
) -> Split:
    """Chooses the images to train on and to validate on.

    - Without `train_set` and `val_set`, every VOC folder contributes its `train` and `val` if it
      has both. If not, a fraction is held out from its `trainval`, or from its `train`, or, without
      any lists, from all its annotated images.
    - With `train_set` only, the run validates on `val` if the two share no image, otherwise on a
      held-out fraction.
    - With `val_set` only, the run trains on all other images.

    Images in `test` are used only if `train_set` or `val_set` contains them.

    Args:
        data: A VOCdevkit.
        train_set: Image sets, see `list_images`.
        val_set: Image sets, see `list_images`.
        seed: Seed of the choice of held-out images.
        held_out: Fraction of the images that is held out, 0..1.

    Raises:
        UserError: A set does not exist, or no image is left for training or validation.
    """
    if train_set and val_set:
        train, val = list_images(data, train_set), list_images(data, val_set)
        return Split(train, val, f"train on {train_set}, validate on {val_set}")
    if train_set:
        return _split_train_set(list_images(data, train_set), train_set, seed, held_out)
    if val_set:
        val = list_images(data, val_set)
        folders = voc_dirs(data)
        taken = {*val, *images_in_test(folders)}
        train = [ref for ref in _unsplit_images(folders) if ref not in taken]
        if not train:
            raise UserError(f"no image to train on in {data} except those of {val_set!r}")
        return Split(train, val, f"train on all but {val_set}, validate on {val_set}")
    return _default_split(data, seed, held_out)


def _default_split(data: Path, seed: int, held_out: float) -> Split:
    folders = voc_dirs(data)
    lists = {path: set_lists(path) for path in folders}
    split = [path for path in folders if {"train", "val"} <= lists[path].keys()]
    train = [ref for path in split for ref in _read_set(path, lists[path]["train"])]
    val = [ref for path in split for ref in _read_set(path, lists[path]["val"])]
    notes = ["train and val of " + ", ".join(path.name for path in split)] if split else []
    unsplit = _unsplit_images([path for path in folders if path not in split])
    test_images = images_in_test(folders)
    if not test_images.isdisjoint(train + val + unsplit):
        total = len(train + val + unsplit)
        train, val, unsplit = (
            [ref for ref in refs if ref not in test_images] for refs in (train, val, unsplit)
        )
        notes.append(f"{total - len(train + val + unsplit)} images left out that are also in test")
    if unsplit:
        rest, chosen = _hold_out(unsplit, seed, held_out)
        train, val = train + rest, val + chosen
        notes.append(
            f"{len(chosen)} of {len(unsplit)} images held out for validation from "
            + ", ".join(dict.fromkeys(ref.voc_dir.name for ref in unsplit))
        )
    if not train or not val:
        known = ", ".join(sorted(set().union(*lists.values())))
        raise UserError(
            f"nothing to train on in {data}: it has "
            f"{f'the sets {known}' if known else 'no XML file'}"
            "; specify the sets with --train-set and --val-set"
        )
    if not test_images:
        notes.append("no test list: no images are reserved for a final evaluation")
    return Split(train, val, "; ".join(notes))


def _split_train_set(refs: list[ImageRef], name: str, seed: int, held_out: float) -> Split:
    folders = dict.fromkeys(ref.voc_dir for ref in refs)
    lists = {path: set_lists(path).get("val") for path in folders}
    val = [ref for path, val_list in lists.items() if val_list for ref in _read_set(path, val_list)]
    if val and set(val).isdisjoint(refs):
        return Split(refs, val, f"train on {name}, validate on val")
    rest, chosen = _hold_out(refs, seed, held_out)
    description = f"{len(chosen)} of its {len(refs)} images held out for validation"
    return Split(rest, chosen, f"train on {name}, {description}")


def _unsplit_images(folders: list[Path]) -> list[ImageRef]:
    """Returns the images of `trainval` or `train`, or without any lists all annotated images."""
    refs = []
    for path in folders:
        lists = set_lists(path)
        name = next((name for name in ("trainval", "train") if name in lists), None)
        if name or not lists:
            refs += _read_set(path, lists.get(name))
    return refs


def images_in_test(folders: list[Path]) -> set[ImageRef]:
    """Returns the images in the `test` lists of VOC folders."""
    lists = {path: set_lists(path).get("test") for path in folders}
    return {ref for path, test in lists.items() if test for ref in _read_set(path, test)}


def _hold_out(
    refs: list[ImageRef], seed: int, held_out: float
) -> tuple[list[ImageRef], list[ImageRef]]:
    """Splits images at random into the rest and the held-out fraction."""
    if len(refs) < 2:
        raise UserError(
            "one image is not enough for training and validation: add images, or use --val-set"
        )
    count = min(max(1, round(held_out * len(refs))), len(refs) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(refs))[:count].tolist())
    rest = [ref for i, ref in enumerate(refs) if i not in chosen]
    return rest, [refs[i] for i in sorted(chosen)]


def _read_set(voc_dir: Path, set_list: Path | None) -> list[ImageRef]:
    """Returns the images in a list, or without a list all annotated images."""
    if set_list is None:
        return [ImageRef(voc_dir, image_id) for image_id in annotation_files(voc_dir)]
    text = unicodedata.normalize("NFC", read_text(set_list))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(CLASS_COLUMN.fullmatch(line) for line in lines):
        known = annotation_files(voc_dir).keys() | image_files(voc_dir).keys()
        lines = [line if line in known else CLASS_COLUMN.sub(r"\1", line) for line in lines]
    return [ImageRef(voc_dir, line) for line in dict.fromkeys(lines)]


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: The file is in another encoding.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from error
