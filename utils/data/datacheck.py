"""Checks a whole dataset before training: its statistics and its faults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from nets.versions import MAX_GROUND_TRUTHS
from utils.data.annotation import read_samples
from utils.data.faults import (
    LONE_ANNOTATION,
    LONE_IMAGE,
    SAME_ID,
    SAME_NAME,
    SAME_PIXELS,
    TOO_MANY_OBJECTS,
    Fault,
    check_faults_file,
    fault_lines,
    write_faults,
)
from utils.data.images import read_image
from utils.data.imagesets import ImageRef
from utils.data.samples import Samples
from utils.data.statistics import absent_classes, format_statistics
from utils.data.vocfolder import VocFolder, VocFolders, group_by_folder
from utils.errors import UserError
from utils.lookahead import read_ahead
from utils.text import counted


@dataclass(frozen=True, eq=False)
class DatasetCheck:
    """Result of a check.

    Attributes:
        samples: The usable samples by split.
        faults: All faults, one entry per file and kind of fault.
        table: Statistics and the first faults of each kind, as text.
        statistics: The statistics with a row for every class, also if there are many.
    """

    samples: dict[str, Samples]
    faults: list[Fault]
    table: str
    statistics: str


@dataclass(frozen=True, eq=False)
class CheckSettings:
    """How a dataset is checked.

    Attributes:
        anchors: (..., 2) width and height in input pixels.
        input_size: Height and width of the network's input.
        strict: Whether any fault is an error.
        faults_file: File for the full list of faults, see `write_faults`; None for none. It is
            written even if there is no fault, or if a fault is an error.
    """

    anchors: np.ndarray
    input_size: tuple[int, int]
    strict: bool = False
    faults_file: Path | None = None


@dataclass(frozen=True, eq=False)
class DecodedSamples:
    """Result of decoding the image of every sample once.

    Attributes:
        samples: The samples whose images can be decoded.
        by_digest: Index of the first sample with each digest. A digest is that of the pixels at an
            eighth of the size.
        faults: One per image that cannot be decoded.
    """

    samples: Samples
    by_digest: dict[bytes, int]
    faults: list[Fault]


def check_dataset(
    splits: Mapping[str, Sequence[ImageRef]],
    classes: list[str],
    settings: CheckSettings,
    folders: VocFolders | None = None,
) -> DatasetCheck:
    """Reads every annotation and decodes every image once.

    Args:
        splits: Images by the name of their split.
        classes: Names of the classes, by label.
        settings: How the data are checked.
        folders: The folders of the job, if it has already read some of their files.

    Raises:
        UserError: A split other than `test` has no usable image, faults are errors and there is
            one, or the folder of the list of faults does not exist.
    """
    check_faults_file(settings.faults_file)
    folders = folders or VocFolders()
    decoded: dict[str, DecodedSamples] = {}
    faults: list[Fault] = []
    for split, refs in splits.items():
        samples, found = read_samples(refs, classes, folders)
        decoded[split] = decode_all(samples, split, folders)
        faults += found + decoded[split].faults
    folders.save()
    usable = {split: result.samples for split, result in decoded.items()}
    faults += _crowded_images(usable.get("train", Samples.of([])))
    used = group_by_folder(ref.voc_dir for refs in splits.values() for ref in refs)
    faults += [fault for path in sorted(used) for fault in _unused_files(folders.folder(path))]
    faults += _shared_images(decoded)
    faults = list(dict.fromkeys(faults))
    if settings.faults_file:
        write_faults(settings.faults_file, faults)
    statistics = format_statistics(usable, classes, settings.anchors, settings.input_size)
    table = statistics.short + fault_lines(faults) + absent_classes(usable, classes)
    if settings.strict and faults:
        raise UserError(
            f"{counted(len(faults), 'fault')} in the dataset: repair the files, or omit --strict "
            f"to list and ignore faults; the first: {faults[0]}"
        )
    for split, samples in usable.items():
        if split != "test":  # test is only checked for shared images
            require_usable(split, samples, splits[split], faults)
    return DatasetCheck(usable, faults, table, statistics.full)


def require_usable(
    split: str, samples: Samples, refs: Sequence[ImageRef], faults: Sequence[Fault]
) -> None:
    """Checks that a split has an image that can be used.

    Raises:
        UserError: None of the images `refs` can be used.
    """
    if not samples:
        reason = f"; the first fault: {faults[0]}" if faults else ""
        raise UserError(f"no usable image among the {len(refs)} of {split}{reason}")


def decode_all(samples: Samples, split: str, folders: VocFolders | None = None) -> DecodedSamples:
    """Decodes the image of every sample once, with a progress bar on standard error.

    Args:
        samples: The samples of VOC folders.
        split: Name of the split, for the progress bar.
        folders: The folders of the job, if it has already read some of their files.

    Raises:
        JobError: The disk or network folder does not respond.
    """
    folders = folders or VocFolders()
    digests: list[bytes | Fault] = [b""] * len(samples)
    for folder, members in group_by_folder(samples.folders).items():
        image_ids = [samples.image_ids[index] for index in members]
        found = folders.folder(folder.parent).digests(image_ids, f"checking {split}")
        for index, digest in zip(members, found, strict=True):
            digests[index] = digest
    faults = [each for each in digests if isinstance(each, Fault)]
    if faults:
        rows = [row for row, each in enumerate(digests) if not isinstance(each, Fault)]
        samples, digests = samples.take(np.array(rows, int)), [digests[row] for row in rows]
    by_digest: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        by_digest.setdefault(digest, row)
    return DecodedSamples(samples, by_digest, faults)


def _crowded_images(samples: Samples) -> list[Fault]:
    """Finds images with more objects than training uses."""
    counts = samples.counts
    return [
        Fault(
            TOO_MANY_OBJECTS,
            samples.image(row),
            f"{counts[row]}, only the largest {MAX_GROUND_TRUTHS} are used",
        )
        for row in np.flatnonzero(counts > MAX_GROUND_TRUTHS).tolist()
    ]


def _unused_files(folder: VocFolder) -> list[Fault]:
    """Finds images and annotations that are without each other or share their name."""
    images, annotations = folder.images, folder.annotations
    lone_images = sorted(images.names.keys() - annotations.names.keys())
    lone_annotations = sorted(annotations.names.keys() - images.names.keys())
    faults = [Fault(LONE_IMAGE, images.path(each)) for each in lone_images]
    faults += [Fault(LONE_ANNOTATION, annotations.path(each)) for each in lone_annotations]
    return faults + [
        Fault(SAME_NAME, path, f"{used.name} is used instead")
        for path, used in folder.unused.items()
    ]


def _shared_images(decoded: Mapping[str, DecodedSamples]) -> list[Fault]:
    """Finds images that are in two splits, as the same file or as two files with equal pixels."""
    faults = []
    ids = {split: set(result.samples.image_ids) for split, result in decoded.items()}
    for one, other in combinations(decoded, 2):
        shared = ids[one] & ids[other]  # perhaps in different folders; faster than sets of paths
        files, other_files = (
            {
                decoded[split].samples.image(row)
                for row, image_id in enumerate(decoded[split].samples.image_ids if shared else ())
                if image_id in shared
            }
            for split in (one, other)
        )
        for path in files & other_files:
            faults.append(Fault(SAME_ID, path, f"in {one} and in {other}"))
        digests, other_digests = decoded[one].by_digest, decoded[other].by_digest
        for digest in digests.keys() & other_digests.keys():
            first = decoded[one].samples.image(digests[digest])
            second = decoded[other].samples.image(other_digests[digest])
            # Different images can have equal pixels at an eighth of the size.
            if first != second and np.array_equal(*read_ahead(read_image, (first, second))):
                detail = f"in {one}, and in {other} as {second}"
                faults.append(Fault(SAME_PIXELS, first, detail))
    return sorted(faults)
