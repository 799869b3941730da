"""The data of a run: checked samples, and anchors that fit them."""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np

from nets.versions import VERSIONS, YoloVersion, with_anchors
from utils.data.anchors import anchor_fit, kmeans_anchors
from utils.data.classes import find_training_classes
from utils.data.datacheck import CheckSettings, check_dataset
from utils.data.imagesets import images_in_test, voc_dirs
from utils.data.samples import Samples
from utils.data.splits import HELD_OUT, resolve_splits
from utils.data.vocfolder import VocFolders
from utils.errors import UserError
from utils.memory import without_garbage_collection
from utils.text import first_few


@dataclass(frozen=True)
class DataSource:
    """The images that a run uses.

    Attributes:
        folder: The VOCdevkit.
        train_set: Image sets to train on; None for the default split.
        val_set: Image sets to validate on; None for the default split.
        seed: Seed of the choice of images that are held out.
        held_out: Fraction of the training images that is held out for validation if there is no
            list of validation images.
        strict: Whether any fault in the data is an error.
        faults_file: File for the full list of faults; None for none.
    """

    folder: Path
    train_set: str | None
    val_set: str | None
    seed: int
    held_out: float = HELD_OUT
    strict: bool = False
    faults_file: Path | None = None


@dataclass(frozen=True, eq=False)
class RunData:
    """The samples of a run.

    Attributes:
        split: Description of the split, to be shown to the user.
        classes: Names of the classes, by label.
        train: Samples to train on.
        val: Samples to validate on.
        statistics: Statistics of the data as text, with a row for every class.
    """

    split: str
    classes: list[str]
    train: Samples
    val: Samples
    statistics: str

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Names of all images in order by split, independent of the path of the data."""
        splits = {"train": self.train, "val": self.val}
        return {
            split: [
                f"{folder.parent.name}/{image_id}"
                for folder, image_id in zip(samples.folders, samples.image_ids, strict=True)
            ]
            for split, samples in splits.items()
        }

    @cached_property
    def digest(self) -> str:
        """Digest of `names`."""
        names = json.dumps([*self.names.values()])
        return blake2b(names.encode(), digest_size=16).hexdigest()


def describe_changes(
    before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]
) -> str:
    """Describes how the images of a run have changed, in half a sentence.

    Args:
        before: Names of the images by split when the run was started; empty if they are not known.
        after: Names of the images by split now.
    """
    was, now = (set().union(*names.values()) for names in (before, after))
    if was and (missing := was - now):
        return f"{_some(missing)} missing or unusable"
    if was and (added := now - was):
        return f"{_some(added)} new"
    return "the lists assign them to other splits or in another order" if was else "they differ"


def _some(names: Collection[str]) -> str:
    return f"{first_few(names)} {'is' if len(names) == 1 else 'are'}"


def read_run_data(
    source: DataSource,
    classes: Sequence[str] | None,
    version: YoloVersion,
    input_size: tuple[int, int],
) -> RunData:
    """Reads and checks all images and annotations; prints what it finds on standard error.

    Args:
        source: The images to read.
        classes: Names of the classes, by label; None for those of the training annotations.
        version: The YOLO version, whose published anchors are compared with the boxes.
        input_size: Height and width in pixels.

    Raises:
        UserError: A split has no usable image, or there is no class.
    """
    with without_garbage_collection():  # a quarter of the time of a large set
        return _read_run_data(source, classes, version, input_size)


def _read_run_data(
    source: DataSource,
    classes: Sequence[str] | None,
    version: YoloVersion,
    input_size: tuple[int, int],
) -> RunData:
    split = resolve_splits(
        source.folder, source.train_set, source.val_set, source.seed, source.held_out
    )
    folders = VocFolders(thorough=True)
    classes = list(classes or find_training_classes(split.train, source.folder, folders))
    print(split, file=sys.stderr)
    splits = {"train": split.train, "val": split.val}
    test_images = images_in_test(voc_dirs(source.folder))
    if test_images:  # only to find images that it shares with the other two
        splits["test"] = sorted(test_images)
    anchors = VERSIONS[version.name].anchor_array
    settings = CheckSettings(anchors, input_size, source.strict, source.faults_file)
    report = check_dataset(splits, classes, settings, folders)
    print(report.table, end="", file=sys.stderr)
    return RunData(
        split.description,
        classes,
        report.samples["train"],
        report.samples["val"],
        report.statistics,
    )


def require_objects(data: RunData, folder: Path) -> None:
    """Checks that there are objects to train on and to find.

    Args:
        data: The data.
        folder: Where they come from, for error messages.

    Raises:
        UserError: There are none.
    """
    if not len(data.train.boxes):
        raise UserError(f"no object to train on in {folder}, see the faults listed above")
    if data.val.difficult.all():
        raise UserError(
            f"no object to find in the {len(data.val)} validation images ({data.split}), so "
            "mAP is undefined: choose others with --val-set, or annotate more images"
        )


def with_clustered_anchors(version: YoloVersion, sizes: np.ndarray, seed: int) -> YoloVersion:
    """Returns a version whose anchors are clusters of the sizes of boxes.

    Args:
        version: The YOLO version.
        sizes: (N, 2) width and height of the training boxes in input pixels, at least one.
        seed: Seed of the clustering.
    """
    shape = version.anchor_array.shape
    clusters = kmeans_anchors(sizes, shape[0] * shape[1], seed)
    return with_anchors(version, clusters.reshape(shape))


def describe_anchors(version: YoloVersion, sizes: np.ndarray) -> str:
    """Returns a line that says how well the anchors of a version fit boxes of sizes (N, 2)."""
    recall, overlap = anchor_fit(sizes, version.anchor_array)
    return f"best possible recall {recall:.3f}, mean IoU {overlap:.3f}"
