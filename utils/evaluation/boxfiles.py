"""Boxes as text files, one an image: what get_map leaves behind and reads from elsewhere.

Ground truth is `class xmin ymin xmax ymax [difficult]`, detections are
`class score xmin ymin xmax ymax`, the formats of the predecessors' `map_out`. Numbers are read
from the right end, so a class name may hold spaces.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from utils.data.annotation import Sample
from utils.errors import UserError
from utils.inference.detections import Detections

GROUND_TRUTH = "class xmin ymin xmax ymax [difficult]"
DETECTION = "class score xmin ymin xmax ymax"
DIFFICULT = "difficult"


def file_names(texts: Iterable[str]) -> list[str]:
    """File names without suffix, one for each text: fit for any file system, no two the same."""
    names, taken = [], set()
    for text in texts:
        plain = name = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", text)[:100] or "_"
        copy = 1
        while name.casefold() in taken:
            copy += 1
            name = f"{plain}_{copy}"
        taken.add(name.casefold())
        names.append(name)
    return names


def write_box_files(
    folder: Path,
    samples: Sequence[Sample],
    detections: Sequence[Detections],
    classes: Sequence[str],
) -> None:
    """Writes `ground-truth/` and `detection-results/` into `folder`, every digit kept."""
    truths, results = folder / "ground-truth", folder / "detection-results"
    truths.mkdir()
    results.mkdir()
    names = file_names(sample.image_id for sample in samples)
    for name, sample, found in zip(names, samples, detections, strict=True):
        marks = [DIFFICULT if difficult else "" for difficult in sample.difficult]
        rows = zip(_names(sample.labels, classes), *_texts(sample.boxes), marks, strict=True)
        _write(truths / f"{name}.txt", rows)
        scores = _texts(found.scores[:, None])
        rows = zip(_names(found.labels, classes), *scores, *_texts(found.boxes), strict=True)
        _write(results / f"{name}.txt", rows)


def read_box_files(
    truth_folder: Path, detection_folder: Path
) -> tuple[list[Sample], list[Detections], list[str], list[str]]:
    """Reads a set of ground truth and the detections that were made for it, elsewhere.

    Returns:
        Samples (without picture or size) and their detections, in the order of the file names;
        the classes of the ground truth, sorted; and notes for the user: what was left out and why.

    Raises:
        UserError: A folder is missing or holds no text files, a line is malformed, or no class
            is in both.
    """
    truth_files, detection_files = _text_files(truth_folder), _text_files(detection_folder)
    truths = {name: _read_truths(path) for name, path in truth_files.items()}
    results = {
        name: _read_detections(detection_files[name]) if name in detection_files else []
        for name in truths
    }
    classes = sorted({row[0] for rows in truths.values() for row in rows})
    if not classes:
        raise UserError(f"no object in any file of {truth_folder}, there is nothing to find")
    labels = {name: label for label, name in enumerate(classes)}
    unknown = Counter(row[0] for rows in results.values() for row in rows if row[0] not in labels)
    if unknown and unknown.total() == sum(map(len, results.values())):
        raise UserError(
            f"no class of {detection_folder} ({some(unknown)}) is in {truth_folder} "
            f"({some(classes)}), use the same names in both"
        )
    notes = [
        f"class {name!r} is not in the ground truth: its {count} detections are not scored"
        for name, count in sorted(unknown.items())
    ]
    if silent := truths.keys() - detection_files.keys():
        notes.append(f"no detection file for {some(silent)}: counted as nothing detected there")
    if strangers := detection_files.keys() - truths.keys():
        notes.append(f"no ground truth file for {some(strangers)}: these images are not scored")
    samples, detections = [], []
    for name, rows in truths.items():
        table = np.array([row[1] for row in rows], np.float32).reshape(-1, 4)
        samples.append(
            Sample(
                image_id=name,
                image=truth_files[name],
                boxes=table,
                labels=np.array([labels[row[0]] for row in rows], np.int32),
                difficult=np.array([row[2] for row in rows], bool),
                width=0,
                height=0,
            )
        )
        rows = [row for row in results[name] if row[0] in labels]
        table = np.array([row[1] for row in rows], np.float32).reshape(-1, 5)
        found = np.array([labels[row[0]] for row in rows], np.int32)
        detections.append(Detections(table[:, 1:], table[:, 0], found))
    return samples, detections, classes, notes


def _text_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"no folder {folder}, name one that holds a text file an image")
    files = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    if not files:
        raise UserError(f"no .txt file in {folder}, name a folder that holds one an image")
    return files


def _read_truths(path: Path) -> list[tuple[str, list[float], bool]]:
    rows = []
    for number, line in _lines(path):
        plain = line.removesuffix(DIFFICULT)
        difficult = plain != line and plain[-1:].isspace()
        name, box = _parse(plain if difficult else line, 4, f"{path}:{number}", GROUND_TRUTH)
        rows.append((name, box, difficult))
    return rows


def _read_detections(path: Path) -> list[tuple[str, list[float]]]:
    return [_parse(line, 5, f"{path}:{number}", DETECTION) for number, line in _lines(path)]


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text, save it as such") from error
    return [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]


def _parse(line: str, count: int, where: str, form: str) -> tuple[str, list[float]]:
    name, *words = line.rsplit(maxsplit=count)
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UserError(f"{where}: cannot read {line!r}, expected `{form}`")
    xmin, ymin, xmax, ymax = numbers[-4:]
    if xmax < xmin or ymax < ymin:
        raise UserError(f"{where}: the box of {line!r} ends before it begins, expected `{form}`")
    return name, numbers


def some(names: Iterable[str], most: int = 5) -> str:
    """The first few names, for a message."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _names(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    return [classes[label] for label in labels]


def _texts(table: np.ndarray) -> list[list[str]]:
    """The columns of a float32 table as the shortest texts that read back to the same numbers."""
    return [[text.removesuffix(".0") for text in column] for column in table.T.astype(str)]


def _write(path: Path, rows: Iterable[Sequence[str]]) -> None:
    path.write_text("".join(" ".join(row).rstrip() + "\n" for row in rows), encoding="utf-8")
