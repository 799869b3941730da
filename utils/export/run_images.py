"""Finds the images of a run again: those that it was trained on, and those of its validation."""

import sys
from dataclasses import dataclass
from pathlib import Path

from utils.data.annotation import Sample
from utils.data.imagesets import ImageRef, voc_dirs
from utils.data.splits import resolve_splits
from utils.errors import UserError
from utils.evaluation.testset import read_test_set
from utils.run import Run, RunDirectory


@dataclass(frozen=True)
class RunImages:
    """The images of a run.

    Attributes:
        run: The run directory, for messages.
        folder: The VOCdevkit.
        train: The images that the run was trained on; they may not exist any more.
        val: The images that it was validated on.
    """

    run: Path
    folder: Path
    train: list[ImageRef]
    val: list[ImageRef]


def find_run_images(run: Run, data: Path | None = None) -> RunImages:
    """Finds the images whose names are in the images.txt of a run.

    A run without this file, which is imported or of an earlier version, uses the sets of its
    config; a note on standard error says so.

    Args:
        run: The run.
        data: A VOCdevkit; None for that of the run.

    Raises:
        UserError: There is no such folder, or the run does not name one.
    """
    if data is None and not run.config.data:
        raise UserError(
            f"{run.path} does not say which images it was trained on, as it was imported: "
            "specify a VOCdevkit with --data"
        )
    folder = data or Path(run.config.data)
    names = RunDirectory(run.path).read_images()
    if names:
        folders = {path.name: path for path in voc_dirs(folder)}
        return RunImages(
            run.path,
            folder,
            *(
                [_reference(name, folders, folder) for name in names.get(split, ())]
                for split in ("train", "val")
            ),
        )
    config = run.config
    split = resolve_splits(folder, config.train_set, config.val_set, config.recipe.seed)
    print(f"note: {run.path} has no images.txt; using {folder}: {split}", file=sys.stderr)
    return RunImages(run.path, folder, split.train, split.val)


def validation_samples(images: RunImages, classes: list[str]) -> list[Sample]:
    """Reads the validation images of a run.

    Images that cannot be used are left out and listed on standard error.

    Args:
        images: The images of the run.
        classes: Names of the classes, by label.

    Raises:
        UserError: No image can be read, or no object has one of the classes.
    """
    return read_test_set(images.val, classes, "val", images.folder)


def _reference(name: str, folders: dict[str, Path], folder: Path) -> ImageRef:
    year, _, image_id = name.partition("/")
    return ImageRef(folders.get(year, folder / year), image_id)
