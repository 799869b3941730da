"""Reads the samples that training would use, for scripts that do not train."""

import sys
from dataclasses import dataclass
from pathlib import Path

from nets.versions import VERSIONS
from utils.data.classes import find_training_classes, read_classes
from utils.data.datacheck import CheckSettings, check_dataset
from utils.data.samples import Samples
from utils.data.splits import resolve_splits
from utils.data.vocfolder import VocFolders


@dataclass(frozen=True)
class TrainSource:
    """The images that training would use.

    Attributes:
        data: A VOCdevkit.
        input_size: Height and width of the network's input.
        train_set: Image sets, see `resolve_splits`; None for the default split.
        classes_file: File with one class name per line; None for the classes in the annotations.
        seed: Seed of the choice of held-out images.
        faults_file: File for the full list of faults; None for none.
    """

    data: Path
    input_size: tuple[int, int]
    train_set: str | None = None
    classes_file: Path | None = None
    seed: int = 0
    faults_file: Path | None = None


def read_training_samples(source: TrainSource) -> tuple[Samples, list[str]]:
    """Reads and checks the samples that training would use; reports on standard error.

    Like training, it leaves out images and objects that cannot be used.

    Returns:
        The samples and the names of the classes, by label.

    Raises:
        UserError: There is no usable image or no object.
    """
    split = resolve_splits(source.data, source.train_set, seed=source.seed)
    print(f"{source.data}: {split}", file=sys.stderr)
    path = source.classes_file
    folders = VocFolders(thorough=True)
    if path:
        classes = read_classes(path)
    else:
        classes = find_training_classes(split.train, source.data, folders)
    settings = CheckSettings(
        VERSIONS["v4"].anchor_array, source.input_size, faults_file=source.faults_file
    )
    report = check_dataset({"train": split.train}, classes, settings, folders)
    print(report.table, end="", file=sys.stderr)
    return report.samples["train"], classes
