"""Finds the images of a run again: those that it was trained on, and those of its validation."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from utils.data.imagesets import ImageRef, image_files, voc_dirs
from utils.data.samples import Sample
from utils.data.splits import resolve_splits
from utils.errors import UserError
from utils.evaluation.testset import read_test_set
from utils.run import Run, RunDirectory
from utils.text import counted, first_few

NOUNS = {"train": "training image", "val": "validation image"}


@dataclass(frozen=True)
class RunImages:
    """The images of a run.

    Attributes:
        run: The run directory, for messages.
        folder: The VOCdevkit.
        train: The images that the run was trained on; they may not exist any more.
        val: The images that it was validated on; they may not exist any more.
    """

    run: Path
    folder: Path
    train: list[ImageRef]
    val: list[ImageRef]

    def files(self, split: Literal["train", "val"]) -> tuple[list[Path], list[str]]:
        """Returns the files of the images that exist, and the names of those that do not.

        Raises:
            UserError: None of them exists.
        """
        refs: list[ImageRef] = getattr(self, split)
        files = {folder: image_files(folder) for folder in {ref.voc_dir for ref in refs}}
        found, missing = [], []
        for ref in refs:
            if path := files[ref.voc_dir].get(ref.image_id):
                found.append(path)
            else:
                missing.append(f"{ref.voc_dir.name}/{ref.image_id}")
        if not found:
            raise UserError(
                f"none of the {counted(len(refs), NOUNS[split])} of {self.run} is in {self.folder} "
                f"({first_few(missing, 3) or 'its list is empty'}): specify their VOCdevkit with "
                "--data"
            )
        return found, missing


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
    config = run.config
    if data is None and not config.data:
        raise UserError(
            f"{run.path} does not say which images it was trained on, as it was imported: "
            "specify a VOCdevkit with --data"
        )
    folder = data or Path(config.data)
    if names := RunDirectory(run.path).read_images():
        folders = {path.name: path for path in voc_dirs(folder)}
        refs: dict[str, list[ImageRef]] = {"train": [], "val": []}
        for split, of_split in refs.items():
            for name in names.get(split, ()):
                year, _, image_id = name.partition("/")
                of_split.append(ImageRef(folders.get(year, folder / year), image_id))
        return RunImages(run.path, folder, **refs)
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
    images.files("val")  # reports a wrong folder in one line, instead of each image that is missing
    return read_test_set(images.val, classes, "val", images.folder)
