"""Chooses the images to train on and to validate on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.data.imagesets import (
    ImageRef,
    images_in_test,
    list_images,
    read_set,
    set_lists,
    voc_dirs,
)
from utils.errors import UserError
from utils.text import counted

HELD_OUT = 0.1  # fraction of the images that is held out if there is no list of validation images


@dataclass(frozen=True)
class Split:
    """The images of a training run.

    Attributes:
        train: The images to train on.
        val: The images to validate on.
        description: How the images were chosen, in one line.
        warnings: What is probably not intended, one line each.
    """

    train: list[ImageRef]
    val: list[ImageRef]
    description: str
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([self.description, *(f"warning: {line}" for line in self.warnings)])


def resolve_splits(
    data: Path,
    train_set: str | None = None,
    val_set: str | None = None,
    seed: int = 0,
    held_out: float = HELD_OUT,
) -> Split:
    """Chooses the images to train on and to validate on.

    - Without `train_set` and `val_set`, every VOC folder contributes its `train` and `val` if both
      have images. If not, a fraction is held out from its `trainval`, or from its `train`, or,
      without any lists, from all its annotated images.
    - With `train_set` only, the run validates on `val` if the two share no image, otherwise on a
      held-out fraction.
    - With `val_set` only, the run trains on all other images.

    Images in `test` are used only if `train_set` or `val_set` contains them, and are held out for
    validation only if `train_set` names this `test`.

    Args:
        data: A VOCdevkit.
        train_set: Image sets, see `list_images`.
        val_set: Image sets, see `list_images`.
        seed: Seed of the choice of held-out images.
        held_out: Fraction of the images that is held out, 0..1.

    Raises:
        UserError: A set does not exist, or no image is left for training or validation.
    """
    folders = voc_dirs(data)
    if not train_set and not val_set:
        return _default_split(folders, data, seed, held_out)
    test_images = images_in_test(folders)
    train = list_images(data, train_set) if train_set else []
    val = list_images(data, val_set) if val_set else []
    unasked = {
        spec: test_images.difference(_images_of_named_test(data, spec))
        for spec in (train_set, val_set)
    }
    warnings = (
        *_test_warnings(train, train_set, "train", unasked[train_set]),
        *_test_warnings(val, val_set, "val", unasked[val_set]),
    )
    if not val_set:
        excluded = unasked[train_set]
        train, val, description = _split_train_set(train, train_set, excluded, seed, held_out)
    elif not train_set:
        train, description = _all_but(val, val_set, test_images, folders, data)
    else:
        description = f"train on {train_set}, validate on {val_set}"
    return Split(train, val, description, warnings)


def _images_of_named_test(data: Path, spec: str | None) -> list[ImageRef]:
    """Returns the images of the `test` sets that a list of image sets names."""
    items = [item for item in (spec or "").split(",") if item.strip().rpartition(":")[2] == "test"]
    return list_images(data, ",".join(items)) if items else []


def _test_warnings(
    refs: Sequence[ImageRef], spec: str | None, role: str, unasked: Collection[ImageRef]
) -> list[str]:
    shared = len(refs) - len(_without(refs, unasked))
    if not shared:
        return []
    return [
        f"{shared} of the {len(refs)} images of --{role}-set {spec} are also in test, so scores on "
        "test will be too high; remove them from one of the lists"
    ]


def _split_train_set(
    refs: list[ImageRef], name: str, excluded: Collection[ImageRef], seed: int, held_out: float
) -> tuple[list[ImageRef], list[ImageRef], str]:
    """Chooses validation images for a training set.

    Args:
        refs: The training set.
        name: Its name.
        excluded: Images of `test` that the user did not ask for; they are not validated on.
        seed: Seed of the choice of held-out images.
        held_out: Fraction of the images that is held out, 0..1.

    Returns:
        Images to train on, images to validate on, and a description.
    """
    notes = []
    listed = {path: set_lists(path).get("val") for path in dict.fromkeys(r.voc_dir for r in refs)}
    val = []
    for path, val_list in listed.items():
        found = read_set(path, val_list) if val_list else []
        if val_list and not found:
            notes.append(f"{val_list} is empty")
        val += found
    usable = _without(val, excluded)
    if usable and set(usable).isdisjoint(refs):
        if len(usable) < len(val):
            notes.append(_left_out(len(val) - len(usable), "val"))
        return refs, usable, "; ".join([f"train on {name}, validate on val", *notes])
    if val and not usable:
        notes.append(_all_in_test(val, "val"))
    candidates = _without(refs, excluded)
    if not candidates:
        raise UserError(
            f"{_all_in_test(refs, name)}, so none of them can be held out for validation: "
            "remove them from test, or specify other images with --val-set"
        )
    chosen = _hold_out(candidates, len(refs), seed, held_out)
    description = (
        f"train on {name}, {len(chosen)} of its {len(refs)} images held out for validation"
    )
    return _without(refs, chosen), chosen, "; ".join([description, *notes])


def _all_but(
    val: list[ImageRef],
    name: str,
    test_images: Collection[ImageRef],
    folders: list[Path],
    data: Path,
) -> tuple[list[ImageRef], str]:
    """Returns all images to train on except those of a validation set, and a description."""
    refs = _without([ref for path in folders for ref in _unsplit_images(path)], val)
    train = _without(refs, test_images)
    if not train:
        reason = f", and the {len(refs)} others are in test" if refs else ""
        raise UserError(
            f"no image to train on in {data} except those of {name!r}{reason}: "
            "specify images with --train-set"
        )
    notes = [_left_out(len(refs) - len(train))] if len(train) < len(refs) else []
    return train, "; ".join([f"train on all but {name}, validate on {name}", *notes])


def _default_split(folders: list[Path], data: Path, seed: int, held_out: float) -> Split:
    test_images = images_in_test(folders)
    train, val, unsplit = [], [], []
    split, notes = [], []
    left_out = set()
    for path in folders:
        lists = {
            name: read_set(path, file)
            for name, file in set_lists(path).items()
            if name in ("train", "val", "trainval")
        }
        usable = {name: _without(refs, test_images) for name, refs in lists.items()}
        for name, refs in lists.items():
            where = f"{name} of {path.name}"
            if not usable[name]:
                notes.append(_all_in_test(refs, where) if refs else f"{where} is empty")
        if usable.get("train") and usable.get("val"):
            split.append(path.name)
            train += usable["train"]
            val += usable["val"]
            left_out |= test_images.intersection(lists["train"] + lists["val"])
        else:
            refs = _unsplit_images(path)
            known = set_lists(path).keys()
            if known - {"test"} and not known & {"train", "trainval"}:
                notes.append(f"{path.name} has no list train or trainval and is not used")
            unsplit += _without(refs, test_images)
            left_out |= test_images.intersection(refs)
    if split:
        notes.insert(0, "train and val of " + ", ".join(split))
    if not train and not unsplit:
        raise UserError(f"nothing to train on in {data}: {_cause(folders, notes)}")
    if left_out:
        notes.append(_left_out(len(left_out)))
    if unsplit:
        chosen = _hold_out(unsplit, len(unsplit), seed, held_out)
        train, val = train + _without(unsplit, chosen), val + chosen
        notes.append(
            f"{len(chosen)} of {len(unsplit)} images held out for validation from "
            + ", ".join(dict.fromkeys(ref.voc_dir.name for ref in unsplit))
        )
    if not test_images:
        has_list = any("test" in set_lists(path) for path in folders)
        reason = "test is empty" if has_list else "no test list"
        notes.append(f"{reason}: no images are reserved for a final evaluation")
    return Split(train, val, "; ".join(notes))


def _cause(folders: list[Path], notes: list[str]) -> str:
    """Explains why no image is left, and how to change that."""
    known = set().union(*(set_lists(path) for path in folders))
    if not known:
        return f"there is no XML file in {folders[0] / 'Annotations'}"
    found = "; ".join(notes) or f"it has the sets {', '.join(sorted(known))}"
    return f"{found}; specify the sets with --train-set and --val-set, or correct the lists"


def _left_out(count: int, name: str = "") -> str:
    images = counted(count, "image") + (f" of {name}" if name else "")
    return f"{images} left out that {'is' if count == 1 else 'are'} also in test"


def _all_in_test(refs: list[ImageRef], name: str) -> str:
    return f"all {len(refs)} images of {name} are also in test"


def _unsplit_images(path: Path) -> list[ImageRef]:
    """Returns the images of `trainval` or `train`, or without any lists all annotated images.

    An empty `trainval` counts as missing.
    """
    lists = set_lists(path)
    if not lists:
        return read_set(path, None)
    found = (read_set(path, lists[name]) for name in ("trainval", "train") if name in lists)
    return next(filter(None, found), [])


def _without(refs: Sequence[ImageRef], excluded: Collection[ImageRef]) -> list[ImageRef]:
    excluded = set(excluded)
    return [ref for ref in refs if ref not in excluded]


def _hold_out(refs: list[ImageRef], total: int, seed: int, held_out: float) -> list[ImageRef]:
    """Chooses the fraction `held_out` of `total` images at random from `refs`."""
    if total < 2:
        raise UserError(
            "one image is not enough for training and validation: add images, or use it for both "
            "with --train-set all --val-set all"
        )
    count = min(max(1, round(held_out * total)), total - 1, len(refs))
    chosen = np.random.default_rng(seed).permutation(len(refs))[:count]
    return [refs[i] for i in sorted(chosen)]
