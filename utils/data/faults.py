"""The faults of the files of a dataset, and how they are listed."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError
from utils.files import written_whole
from utils.text import one_line, printable

LONE_IMAGE = "image without annotation"
LONE_ANNOTATION = "annotation without image"
SAME_NAME = "image of the same name"
NO_SUCH_IMAGE = "no such image"
UNREADABLE_IMAGE = "unreadable image"
UNREADABLE_ANNOTATION = "unreadable annotation"
UNKNOWN_CLASS = "unknown class"
NO_BOX = "no box"
EMPTY_BOX = "empty box"
OUTSIDE = "box outside"
MOSTLY_OUTSIDE = "box mostly outside"
CROSSES_BORDER = "box crosses border"
SIZE_DIFFERS = "size differs"
ROTATED = "boxes rotated by EXIF"
MISPLACED = "boxes may be misplaced"
TOO_MANY_OBJECTS = "too many objects"
SAME_ID = "same id in two splits"
SAME_PIXELS = "same pixels in two splits"
# Of datasets that are converted, see `utils.data.formats`:
LISTED_TWICE = "image listed twice"
RENAMED = "image renamed"
UNREADABLE_OBJECT = "unreadable object"
BOX_FROM_OUTLINE = "outline without box"
CLIPPED = "box clipped"
MARK_LOST = "mark not written"

IMAGE_LEFT_OUT, OBJECT_LEFT_OUT, KEPT = "image left out", "object left out", "kept"

HANDLING = {
    LONE_IMAGE: IMAGE_LEFT_OUT,
    LONE_ANNOTATION: IMAGE_LEFT_OUT,
    SAME_NAME: IMAGE_LEFT_OUT,
    NO_SUCH_IMAGE: IMAGE_LEFT_OUT,
    UNREADABLE_IMAGE: IMAGE_LEFT_OUT,
    UNREADABLE_ANNOTATION: IMAGE_LEFT_OUT,
    UNKNOWN_CLASS: OBJECT_LEFT_OUT,
    NO_BOX: OBJECT_LEFT_OUT,
    EMPTY_BOX: OBJECT_LEFT_OUT,
    OUTSIDE: OBJECT_LEFT_OUT,
    MOSTLY_OUTSIDE: KEPT,
    CROSSES_BORDER: KEPT,
    SIZE_DIFFERS: KEPT,
    ROTATED: "boxes rotated with the image",
    MISPLACED: KEPT,
    TOO_MANY_OBJECTS: "smallest objects not used for training",
    SAME_ID: KEPT,
    SAME_PIXELS: KEPT,
    LISTED_TWICE: "objects of all entries kept, equal ones once",
    RENAMED: "image kept under another name",
    UNREADABLE_OBJECT: OBJECT_LEFT_OUT,
    BOX_FROM_OUTLINE: "box around the outline",
    CLIPPED: "part inside the image kept",
    MARK_LOST: "object kept without its mark",
}

SHOWN = 3  # faults of each kind that are listed with their files


@dataclass(frozen=True, order=True)
class Fault:
    """A fault of one file.

    Attributes:
        kind: The kind of fault, a key of `HANDLING`.
        path: The file.
        detail: Further description of the fault; may be empty.
    """

    kind: str
    path: Path
    detail: str = ""

    def __str__(self) -> str:
        if str(self.path) in self.detail:
            return one_line(self.detail)
        return one_line(f"{self.path}: {self.detail or self.kind}")


def fault_lines(faults: Sequence[Fault]) -> str:
    """Lists faults by kind: their number, how they are handled, and the first few files."""
    by_kind = defaultdict(list)
    for fault in faults:
        by_kind[fault.kind].append(fault)
    lines = [f"faults: {len(faults) or 'none'}"]
    for kind, same in by_kind.items():
        lines.append(f"  {kind}: {len(same)} ({HANDLING[kind]})")
        lines += [f"    {fault}" for fault in same[:SHOWN]]
        if len(same) > SHOWN:
            lines.append(f"    and {len(same) - SHOWN} more")
    return "\n".join(lines) + "\n"


def check_faults_file(path: Path | None) -> None:
    """Checks that a list of faults can be written, before the data are read.

    Raises:
        UserError: Its folder does not exist.
    """
    if path and not path.parent.is_dir():
        raise UserError(f"--faults {path}: no folder {path.parent}, create it first")


def write_faults(path: Path, faults: Iterable[Fault]) -> None:
    """Writes all faults as CSV with a header, sorted by kind and file, one line per fault.

    The columns are the file, the kind of fault, how it is handled, and details. Line breaks and the
    like are escaped, see `printable`.
    """
    with (
        written_whole(path, shared=True) as (part,),  # workers on one machine check the same data
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "kind", "handling", "detail"])
        for fault in sorted(set(faults)):
            row = (str(fault.path), fault.kind, HANDLING[fault.kind], fault.detail)
            writer.writerow(map(printable, row))
