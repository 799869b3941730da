"""Text files of boxes, one per image, which get_map.py writes, and which it can read.

The formats are those of the `map_out` folder of the predecessors. An object is a line
`class xmin ymin xmax ymax [difficult]`, a detection a line `class score xmin ymin xmax ymax`. Lines
are parsed from the right, so class names may contain spaces.
"""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data.borders import MAX_CORNER
from utils.data.imagesets import read_text
from utils.data.samples import Sample
from utils.errors import UserError
from utils.inference.detections import Detections
from utils.parts import is_part
from utils.text import first_few, one_line, unique_file_names

GROUND_TRUTH_FOLDER, DETECTION_FOLDER = "ground-truth", "detection-results"
GROUND_TRUTH_FORMAT = "class xmin ymin xmax ymax [difficult]"
DETECTION_FORMAT = "class score xmin ymin xmax ymax"
DIFFICULT = "difficult"


class BoxFiles(NamedTuple):
    """The content of two folders of text files.

    Attributes:
        samples: One per ground truth file, sorted by name; without image, size or crowds.
        detections: Detections per sample.
        classes: Names of the classes in the ground truth, sorted; labels are indices into it.
        notes: Which files and detections are not scored, and why; one line per kind.
    """

    samples: list[Sample]
    detections: list[Detections]
    classes: list[str]
    notes: list[str]


class Row(NamedTuple):
    """One line: the class name, the score if it is a detection, the box, and the difficulty."""

    name: str
    numbers: list[float]
    difficult: bool = False


class Rows(NamedTuple):
    """The lines of a file, in a tenth of the memory that as many `Row` take.

    Attributes:
        names: Class names of the N lines.
        numbers: float32 (N, 4 or 5), the score if it is a detection, and the box.
        difficult: bool (N,).
    """

    names: list[str]
    numbers: np.ndarray
    difficult: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Row], numbers: int) -> "Rows":
        """Gathers rows, each with as many numbers."""
        return cls(
            [sys.intern(row.name) for row in rows],
            np.array([row.numbers for row in rows], np.float32).reshape(-1, numbers),
            np.array([row.difficult for row in rows], bool),
        )


NO_ROWS = Rows.of([], 5)


def write_box_files(
    folder: Path,
    samples: Sequence[Sample],
    detections: Sequence[Detections],
    classes: Sequence[str],
) -> None:
    """Writes the folders `ground-truth` and `detection-results`, without loss of precision.

    Args:
        folder: An existing folder.
        samples: Images with their ground truth.
        detections: Detections per image, in the same order.
        classes: Names of the classes, by label.
    """
    truth_folder, detection_folder = folder / GROUND_TRUTH_FOLDER, folder / DETECTION_FOLDER
    truth_folder.mkdir()
    detection_folder.mkdir()
    files = unique_file_names(sample.image_id for sample in samples)
    for file, sample, detected in zip(files, samples, detections, strict=True):
        names = [classes[label] for label in sample.labels]
        marks = [DIFFICULT if difficult else "" for difficult in sample.difficult]
        rows = zip(names, *_shortest_texts(sample.boxes), marks, strict=True)
        _write_rows(truth_folder / f"{file}.txt", rows)
        names = [classes[label] for label in detected.labels]
        numbers = np.column_stack([detected.scores, detected.boxes])
        rows = zip(names, *_shortest_texts(numbers), strict=True)
        _write_rows(detection_folder / f"{file}.txt", rows)


def read_box_files(truth_folder: Path, detection_folder: Path) -> BoxFiles:
    """Reads a folder of ground truth and a folder of detections.

    Raises:
        UserError: A folder is missing or has no text file, a line is malformed, or there is no
            object.
    """
    truth_files, detection_files = _text_files(truth_folder), _text_files(detection_folder)
    truths = {file: _read_truths(path) for file, path in truth_files.items()}
    found = {
        file: _read_detections(detection_files[file]) if file in detection_files else NO_ROWS
        for file in truths
    }
    classes = sorted({name for rows in truths.values() for name in rows.names})
    if not classes:
        raise UserError(f"no object in any file of {truth_folder}, use a folder of ground truth")
    labels = {name: label for label, name in enumerate(classes)}
    unknown = Counter(name for rows in found.values() for name in rows.names if name not in labels)
    notes = [
        f"class {name!r} is not in the ground truth: its {count} detections are not scored"
        for name, count in sorted(unknown.items())
    ]
    if unknown and unknown.total() == sum(len(rows.names) for rows in found.values()):
        notes.append(
            f"no class of {detection_folder} ({first_few(unknown)}) is in {truth_folder} "
            f"({first_few(classes)}), use the same names in both"
        )
    if missing := truths.keys() - detection_files.keys():
        notes.append(f"no detection file for {first_few(missing)}: scored as without detections")
    if extra := detection_files.keys() - truths.keys():
        notes.append(f"no ground truth file for {first_few(extra)}: these images are not scored")
    samples = [_sample(truth_files[file], rows, labels) for file, rows in truths.items()]
    detections = [_detections(rows, labels) for rows in found.values()]
    return BoxFiles(samples, detections, classes, [one_line(note) for note in notes])


def _sample(path: Path, rows: Rows, labels: dict[str, int]) -> Sample:
    return Sample(
        image_id=path.stem,
        image=path,
        boxes=rows.numbers,
        labels=np.array([labels[name] for name in rows.names], np.int32),
        difficult=rows.difficult,
        width=0,
        height=0,
    )


def _detections(rows: Rows, labels: dict[str, int]) -> Detections:
    found = np.array([labels.get(name, -1) for name in rows.names], np.int32)
    known = found >= 0
    numbers = rows.numbers[known]
    return Detections(boxes=numbers[:, 1:], scores=numbers[:, 0], labels=found[known])


def _text_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"no folder {folder}, specify one with a text file per image")
    files = {path.stem: path for path in sorted(folder.glob("*.txt")) if not is_part(path)}
    if not files:
        raise UserError(f"no .txt file in {folder}, specify a folder with one per image")
    return files


def _read_truths(path: Path) -> Rows:
    rows = []
    for number, line in _numbered_lines(path):
        plain = line.removesuffix(DIFFICULT)
        difficult = plain != line and plain[-1:].isspace()
        row = _parse(plain if difficult else line, 4, f"{path}:{number}", GROUND_TRUTH_FORMAT)
        rows.append(row._replace(difficult=difficult))
    return Rows.of(rows, 4)


def _read_detections(path: Path) -> Rows:
    rows = []
    for number, line in _numbered_lines(path):
        where = f"{path}:{number}"
        row = _parse(line, 5, where, DETECTION_FORMAT)
        if not 0 <= row.numbers[0] <= 1:
            raise UserError(
                f"{where}: the score of {line!r} is not between 0 and 1, "
                f"expected `{DETECTION_FORMAT}`"
            )
        rows.append(row)
    return Rows.of(rows, 5)


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    lines = read_text(path).splitlines()
    return [(i, line.strip()) for i, line in enumerate(lines, 1) if line.strip()]


def _parse(line: str, count: int, where: str, expected: str) -> Row:
    """Parses a class name followed by `count` numbers, of which the last four are a box."""
    name, *words = line.rsplit(maxsplit=count)
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise UserError(f"{where}: cannot read {line!r}, expected `{expected}`")
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"{where}: {line!r} has a number that is not finite, expected `{expected}`")
    if max(map(abs, numbers[-4:])) > MAX_CORNER:
        raise UserError(
            f"{where}: the box of {line!r} is more than {MAX_CORNER} pixels away, "
            f"expected `{expected}` in pixels"
        )
    xmin, ymin, xmax, ymax = numbers[-4:]
    if xmax < xmin or ymax < ymin:
        raise UserError(
            f"{where}: the box of {line!r} ends before it begins, expected `{expected}`"
        )
    return Row(name, numbers)


def _shortest_texts(table: np.ndarray) -> list[list[str]]:
    """Formats the columns of a float32 table so that they read back to the same numbers."""
    return [[text.removesuffix(".0") for text in column] for column in table.T.astype(str)]


def _write_rows(path: Path, rows: Iterable[Sequence[str]]) -> None:
    path.write_text("".join(" ".join(row).rstrip() + "\n" for row in rows), encoding="utf-8")
