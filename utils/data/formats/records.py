"""What all formats have in common: images with labelled boxes, and the sets that list them.

Boxes are xyxy in pixels: the left border of the image is 0, the right border is its width, and the
width of a box is xmax - xmin. COCO and YOLO use this convention. `utils.data.vocxml` reads VOC's
coordinates as they are, without the subtraction of 1 with which some tools convert VOC's pixels,
which count from 1. Therefore, a box has the same coordinates in files of VOC and COCO. They are
rounded to `DECIMALS`, so that no conversion adds an error of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from utils.data.borders import clip_box
from utils.data.faults import CLIPPED, HANDLING, OBJECT_LEFT_OUT, Fault
from utils.data.objects import box_fault
from utils.data.orientation import ImageLayout
from utils.errors import UserError
from utils.text import join_words

DECIMALS = 6  # of pixels; a millionth is far below what anyone can annotate

TRAIN, VAL, TRAINVAL, TEST = "train", "val", "trainval", "test"
ALL = "all"  # the set of a dataset without lists
UNLISTED = "unlisted"  # the set of images that no list contains, if there are lists
NO_LISTS = (ALL, UNLISTED)  # sets for which a VOC folder needs no list

Box = tuple[float, float, float, float]


class LabelledBox(NamedTuple):
    """An object of an image.

    Attributes:
        box: xyxy in pixels, rounded to `DECIMALS`.
        label: Index into the list of classes.
        difficult: Whether VOC's scores ignore the object.
        crowd: Whether it is one of COCO's crowds, a box around many objects. All are difficult.
    """

    box: Box
    label: int
    difficult: bool = False
    crowd: bool = False


@dataclass(frozen=True)
class ImageEntry:
    """An image of a dataset.

    Attributes:
        name: Name without suffix, unique within the dataset.
        path: The image file.
        width: Width in pixels as decoded.
        height: Height in pixels as decoded.
        objects: The objects; none for background.
    """

    name: str
    path: Path
    width: int
    height: int
    objects: tuple[LabelledBox, ...]

    @property
    def file_name(self) -> str:
        """Name with suffix, unique within the dataset."""
        return self.name + self.path.suffix


@dataclass(frozen=True)
class BoxDataset:
    """A dataset that was read from any format.

    Attributes:
        classes: Names of the classes, by label.
        images: The images.
        sets: Names of the images by set, such as `train`; an image can be in several. An image in
            none is not in a list.
        faults: What was left out or changed.
        notes: What else the user should know, one line each.
    """

    classes: Sequence[str]
    images: Sequence[ImageEntry]
    sets: Mapping[str, Sequence[str]]
    faults: Sequence[Fault]
    notes: Sequence[str]

    def all_sets(self) -> dict[str, list[str]]:
        """Returns the sets, and one of the images that are in none."""
        sets = {name: list(names) for name, names in self.sets.items()}
        listed = {name for names in sets.values() for name in names}
        if rest := [image.name for image in self.images if image.name not in listed]:
            sets.setdefault(UNLISTED if sets else ALL, []).extend(rest)
        return sets


def rounded(box: Sequence[float]) -> Box:
    """Rounds a box to `DECIMALS`."""
    xmin, ymin, xmax, ymax = (round(float(side), DECIMALS) + 0.0 for side in box)  # no -0.0
    return xmin, ymin, xmax, ymax


def fit_box(
    box: Sequence[float], image: ImageLayout, path: Path, what: str
) -> tuple[Box | None, Fault | None]:
    """Checks a box as VOC's reader does, and clips it if it extends beyond the image.

    Boxes that extend beyond it by at most a pixel stay as they are: that is how tools round.

    Args:
        box: xyxy in pixels of the image as decoded.
        image: Size of the image.
        path: The annotation, for the report.
        what: What the box is, for the report.

    Returns:
        The box, None if it is unusable, and its fault, None if there is none.
    """
    box = rounded(box)
    # Whether scores can match the box is checked before training.
    kind, reason = box_fault(box, image, is_difficult=True)
    if kind is None:
        return box, None
    detail = f"{what} {' '.join(f'{side:g}' for side in box)}"
    if HANDLING[kind] == OBJECT_LEFT_OUT:
        return None, Fault(kind, path, detail + reason)
    clipped = rounded(clip_box(box, image.width, image.height))
    return clipped, Fault(CLIPPED, path, f"{detail} in an image of {image}")


def clean_class_names(names: Sequence[str], where: Path) -> list[str]:
    """Returns class names as a line of a text file and a tag of VOC's XML can hold them.

    Raises:
        UserError: A name is empty or has control characters.
    """
    cleaned = [*map(join_words, names)]
    for name in cleaned:
        if not name.isprintable() or not name:
            raise UserError(f"{where} has a class named {name!r}: write a name that can be printed")
    return cleaned
