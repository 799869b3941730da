"""Reads the names of the classes from a file or from the annotations."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from utils.data.imagesets import ImageRef, read_text
from utils.data.vocfolder import VocFolders, group_by_folder
from utils.errors import UserError
from utils.text import did_you_mean, join_words

VOC_CLASSES = Path(__file__).parents[2] / "model_data" / "voc_classes.txt"


def read_classes(path: Path) -> list[str]:
    """Reads class names from a file with one name per line.

    Raises:
        UserError: The file has no name, contains a name twice, or is not UTF-8.
    """
    names = [*filter(None, map(join_words, read_text(path).splitlines()))]
    if not names:
        raise UserError(f"no class in {path}: write one name per line")
    if len(set(names)) < len(names):
        [(twice, _)] = Counter(names).most_common(1)
        raise UserError(f"class {twice!r} occurs twice in {path}: remove one")
    return names


def find_classes(refs: Sequence[ImageRef], folders: VocFolders | None = None) -> list[str]:
    """Finds the class names in the annotations of images.

    Args:
        refs: The images.
        folders: The folders of the job, if it also reads other contents of their files.

    Returns:
        The names: in VOC's order if all of them are classes of VOC, otherwise sorted.

    Raises:
        JobError: The disk or network folder does not respond.
    """
    folders = folders or VocFolders()
    names = set()
    for voc_dir, indices in group_by_folder(ref.voc_dir for ref in refs).items():
        annotations = folders.folder(voc_dir).annotations
        image_ids = [refs[index].image_id for index in indices]
        annotations.read(image_ids)
        rows = [annotations.row_of[each] for each in image_ids if each in annotations.row_of]
        table = annotations.table.take(np.array(rows, int))
        names |= {table.classes[index] for index in np.unique(table.class_of)}
    names.discard("")
    voc = read_classes(VOC_CLASSES)
    return [name for name in voc if name in names] if names <= set(voc) else sorted(names)


def find_training_classes(
    refs: Sequence[ImageRef], data: Path, folders: VocFolders | None = None
) -> list[str]:
    """Finds the classes to train on, see `find_classes`.

    Args:
        refs: The training images.
        data: The VOCdevkit, for the error message.
        folders: The folders of the job, if it also reads other contents of their files.

    Raises:
        UserError: The annotations have no object.
        JobError: The disk or network folder does not respond.
    """
    if classes := find_classes(refs, folders):
        return classes
    raise UserError(f"no object in the annotations of {data}, draw some boxes first")


def find_labels(words: Iterable[str], classes: Sequence[str]) -> list[int]:
    """Finds the labels of classes that the user names.

    Args:
        words: Names of classes. A word that is not a class is a list separated by commas.
        classes: Names of the classes, by label.

    Returns:
        The labels, sorted.

    Raises:
        UserError: There is no such class; the message contains the nearest one.
    """
    names = [name for word in words for name in ([word] if word in classes else word.split(","))]
    labels = set()
    for name in filter(None, map(str.strip, names)):
        if name not in classes:
            raise UserError(
                f"no class {name!r} in the run, {did_you_mean(name, classes)} "
                "(specify sources before --classes)"
            )
        labels.add(classes.index(name))
    if not labels:
        raise UserError("--classes has no name, specify at least one")
    return sorted(labels)
