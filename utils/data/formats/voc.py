"""Reads VOC folders as datasets of boxes, and writes them.

A dataset is written as `VOC2007` of a VOCdevkit. A `classes.txt` beside it keeps the order of the
classes and those without an object. Coordinates have up to six decimals, and nothing is added to
them, see `utils.data.formats.records`. A crowd of COCO becomes a difficult object with a tag
`iscrowd` of its own, which other readers ignore.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from utils.data.annotation import AnnotatedImage, read_annotated
from utils.data.classes import find_training_classes, read_classes
from utils.data.faults import SAME_NAME, Fault
from utils.data.formats.files import new_folder, place_images, with_progress
from utils.data.formats.names import unique_names
from utils.data.formats.records import (
    DECIMALS,
    TEST,
    TRAIN,
    TRAINVAL,
    VAL,
    BoxDataset,
    ImageEntry,
    LabelledBox,
    rounded,
)
from utils.data.imagesets import (
    ImageRef,
    read_set,
    set_lists,
    voc_dirs,
    write_set_list,
)
from utils.data.vocfolder import VocFolders
from utils.data.vocxml import CROWD
from utils.errors import UserError
from utils.text import counted, first_few

FOLDER = "VOC2007"
CLASSES = "classes.txt"


def read_voc(data: Path) -> BoxDataset:
    """Reads all images of a VOCdevkit, whether or not a list contains them.

    `trainval` is left out if it has the images of `train` and `val`, and the lists of one class,
    such as `cat_train`, since both follow from the others.

    Args:
        data: A VOCdevkit or a VOC folder.

    Raises:
        UserError: There is no VOC folder, no image or no object, or a list or `classes.txt` is
            unusable.
        JobError: The disk or network folder does not respond.
    """
    folders = voc_dirs(data)
    refs, faults = dict[ImageRef, None](), []
    known_folders = VocFolders()  # without a cache: nothing outside the output is written
    lists = defaultdict[str, list[ImageRef]](list)
    for folder in folders:
        for name, file in set_lists(folder).items():
            lists[name] += read_set(folder, file)
        files = known_folders.folder(folder)
        known = files.annotations.names.keys() | files.images.names.keys()
        refs |= dict.fromkeys(ImageRef(folder, name) for name in sorted(known))
        faults += [
            Fault(SAME_NAME, path, f"{path}: {used.name} is used instead")
            for path, used in files.unused.items()
        ]
    refs |= dict.fromkeys(ref for members in lists.values() for ref in members)
    classes, notes = _classes(data, list(refs), known_folders)
    found, more = read_annotated(list(refs), classes, known_folders)
    if not found:
        raise UserError(f"no image of {data} can be read: {next(iter([*more, *faults]), 'empty')}")
    names, renamed = unique_names([each.image for each in found], data)
    name_of = {each.ref: name for each, name in zip(found, names, strict=True)}
    images = [_entry(each, name_of[each.ref]) for each in found]
    sets = {
        name: [name_of[ref] for ref in members if ref in name_of]
        for name, members in lists.items()
        if not _is_list_of_a_class(name, classes)
    }
    notes += [f"the list {name} is left out, it has no images" for name in sets if not sets[name]]
    sets = {name: members for name, members in sets.items() if members}
    if set(sets.get(TRAINVAL, ())) == {*sets.get(TRAIN, ()), *sets.get(VAL, ())} and VAL in sets:
        del sets[TRAINVAL]
    return BoxDataset(classes, images, sets, [*faults, *more, *renamed], notes)


def _classes(
    data: Path, refs: Sequence[ImageRef], folders: VocFolders
) -> tuple[list[str], list[str]]:
    """Returns the classes in the order of `classes.txt`, and notes about others."""
    found = find_training_classes(refs, data, folders)
    file = data / CLASSES
    if not file.is_file():
        return found, []
    classes = read_classes(file)
    others = [name for name in found if name not in classes]
    notes = [f"{file} lacks {first_few(others)}, added at the end"] if others else []
    return classes + others, notes


def _is_list_of_a_class(name: str, classes: Sequence[str]) -> bool:
    class_name, _, kind = name.rpartition("_")
    return class_name in classes and kind in (TRAIN, VAL, TRAINVAL, TEST)


def _entry(annotated: AnnotatedImage, name: str) -> ImageEntry:
    objects = (LabelledBox(rounded(each.box), *each[1:]) for each in annotated.objects)
    layout = annotated.layout
    return ImageEntry(name, annotated.image, layout.width, layout.height, tuple(objects))


def write_voc(dataset: BoxDataset, out: Path, copy: bool) -> tuple[list[str], list[Fault]]:
    """Writes a dataset as a VOCdevkit, completely or not at all.

    Args:
        dataset: The dataset.
        out: The VOCdevkit, which does not exist or is empty.
        copy: Whether to copy the images instead of linking them.

    Returns:
        What the user should know, one line each, and the faults: none.
    """
    sets = {name: list(names) for name, names in dataset.sets.items()}
    if TRAIN in sets and VAL in sets:
        sets.setdefault(TRAINVAL, list(dict.fromkeys(sets[TRAIN] + sets[VAL])))
    with new_folder(out) as part:
        (part / CLASSES).write_text("".join(f"{name}\n" for name in dataset.classes), "utf-8")
        place_images(dataset.images, part / FOLDER / "JPEGImages", copy)
        annotations = part / FOLDER / "Annotations"
        annotations.mkdir()
        for image in with_progress(dataset.images, "writing annotations"):
            text = voc_xml(image, dataset.classes)
            (annotations / f"{image.name}.xml").write_text(text, encoding="utf-8")
        for name, members in sets.items():
            write_set_list(part / FOLDER / "ImageSets" / "Main" / f"{name}.txt", members)
    crowds = sum(each.crowd for image in dataset.images for each in image.objects)
    if not crowds:
        return [], []
    return [f"{counted(crowds, 'crowd')} marked as difficult, and with <{CROWD}> as a crowd"], []


def voc_xml(image: ImageEntry, classes: Sequence[str]) -> str:
    """Returns the annotation of an image."""
    # A tree of elements would take ten times as long.
    objects = "".join(_object_xml(each, classes[each.label]) for each in image.objects)
    return f"""<annotation>
  <folder>JPEGImages</folder>
  <filename>{escape(image.file_name)}</filename>
  <size>
    <width>{image.width}</width>
    <height>{image.height}</height>
    <depth>3</depth>
  </size>
  <segmented>0</segmented>
{objects}</annotation>
"""


def _object_xml(each: LabelledBox, class_name: str) -> str:
    xmin, ymin, xmax, ymax = map(number_text, each.box)
    crowd = f"    <{CROWD}>1</{CROWD}>\n" if each.crowd else ""
    return f"""  <object>
    <name>{escape(class_name)}</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>{int(each.difficult or each.crowd)}</difficult>
{crowd}    <bndbox>
      <xmin>{xmin}</xmin>
      <ymin>{ymin}</ymin>
      <xmax>{xmax}</xmax>
      <ymax>{ymax}</ymax>
    </bndbox>
  </object>
"""


def number_text(value: float, decimals: int = DECIMALS) -> str:
    """Writes a number with at most this many decimals, and none that are zero at the end."""
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".")
