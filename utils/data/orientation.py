"""Maps boxes between an image as stored and as decoded, and finds on which of the two they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from utils.data.images import MIRRORS_X, MIRRORS_Y, SWAPS_SIDES

# Some tools show an image as its pixels are stored, others as its EXIF orientation rotates it.
Frame = Literal["stored", "decoded"]

BORDER_SLACK = 1.0  # pixels; VOC counts from 1, so that boxes may end 1 beyond the border
CLEAR_EXCESS = 0.05  # of the longer side; a box drawn carelessly exceeds the border by less


@dataclass(frozen=True)
class ImageLayout:
    """Size and orientation of an annotated image.

    Attributes:
        height: Height as decoded, after its EXIF orientation was applied.
        width: Width as decoded.
        orientation: The EXIF orientation, 1 to 8.
    """

    height: int
    width: int
    orientation: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as decoded."""
        return self.height, self.width

    @property
    def is_rotated(self) -> bool:
        """Whether the image as stored and as decoded differ, by a rotation or a reflection."""
        return self.orientation in (*SWAPS_SIDES, *MIRRORS_X, *MIRRORS_Y)

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width as stored."""
        return self.size[::-1] if self.orientation in SWAPS_SIDES else self.size


@dataclass(frozen=True)
class FrameCounts:
    """How many rotated images of a folder show on which frame their boxes were drawn.

    Attributes:
        stored: Images whose boxes were drawn on the image as stored.
        decoded: Images whose boxes were drawn on the image as decoded.
    """

    stored: int = 0
    decoded: int = 0

    @property
    def frame(self) -> Frame | None:
        """The frame of the folder; None if no image shows it, or if the images disagree."""
        if bool(self.stored) == bool(self.decoded):
            return None
        return "stored" if self.stored else "decoded"


UNKNOWN_FRAME = FrameCounts()


def find_frame(
    layout: ImageLayout, stated_size: tuple[float, float] | None, boxes: Sequence[Sequence[float]]
) -> Frame | None:
    """Finds on which frame the boxes of an image were drawn.

    Only rotations that swap two different sides leave a trace: in the size that the annotation
    states, or in boxes that fit only one frame. The software that wrote the file is no evidence:
    VOC's format does not name it, and labelImg changed its behaviour between versions.

    Args:
        layout: Size and orientation of the image.
        stated_size: Height and width in the annotation; None if it does not state them.
        boxes: Boxes xyxy in the annotation.

    Returns:
        The frame; None if the annotation does not show it.
    """
    stored, decoded = layout.stored_size, layout.size
    if stored == decoded:
        return None
    excess = {"stored": _excess(boxes, stored), "decoded": _excess(boxes, decoded)}
    if stated_size == stored:
        # Some converters read the size of the file, but their boxes are from the image as decoded.
        is_decoded = excess["stored"] > CLEAR_EXCESS * max(stored) and (
            excess["decoded"] <= BORDER_SLACK
        )
        return "decoded" if is_decoded else "stored"
    if stated_size:
        return "decoded" if stated_size == decoded else None
    fitting: list[Frame] = [name for name, pixels in excess.items() if pixels <= BORDER_SLACK]
    return fitting[0] if len(fitting) == 1 else None


def rotate_box(box: Sequence[float], layout: ImageLayout) -> list[float]:
    """Maps a box xyxy from the image as stored to the image as decoded."""
    left, top, right, bottom = box
    if layout.orientation in SWAPS_SIDES:
        left, top, right, bottom = top, left, bottom, right
    if layout.orientation in MIRRORS_X:
        left, right = layout.width - right, layout.width - left
    if layout.orientation in MIRRORS_Y:
        top, bottom = layout.height - bottom, layout.height - top
    return [left, top, right, bottom]


def _excess(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> float:
    """Returns by how many pixels boxes extend beyond an image at its right or lower border."""
    sides = [side for *_, right, bottom in boxes for side in (right - size[1], bottom - size[0])]
    return max(filter(math.isfinite, sides), default=0.0)
