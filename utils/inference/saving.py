"""Sinks that save detections for other programs: VOC XML, text and CSV."""

import csv
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from utils.files import OutputFolder, written_whole
from utils.inference.detections import Detections
from utils.inference.frames import Frame
from utils.inference.sinks import Sink
from utils.text import printable

CSV_COLUMNS = ("source", "frame", "label", "score", "xmin", "ymin", "xmax", "ymax")


class VocFiles(Sink):
    """Writes a VOC annotation per image or frame, as labelImg does.

    Boxes are rounded to whole pixels from 1 to the size of the image, as VOC counts from 1. They
    are not shifted, since `utils.data.vocxml` and most other readers do not shift them either.

    Args:
        folder: The output folder.
    """

    def __init__(self, folder: OutputFolder):
        self._folder = folder

    def take(self, frame: Frame) -> None:
        """Writes one file."""
        height, width, depth = frame.image.shape
        root = Element("annotation")
        name = Path(frame.source.address).name if frame.number is None else frame.name
        _add(root, folder=printable(self._folder.folder.name), filename=printable(name))
        _add(SubElement(root, "size"), width=width, height=height, depth=depth)
        _add(root, segmented=0)
        found = frame.detections
        for label, box in zip(found.labels, _whole_pixels(found, width, height), strict=True):
            node = SubElement(root, "object")
            _add(node, name=frame.classes[label], pose="Unspecified", truncated=0, difficult=0)
            corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), box.tolist(), strict=True))
            _add(SubElement(node, "bndbox"), **corners)
        indent(root)
        path = self._folder.path(frame.name, ".xml")
        with written_whole(path) as (part,):
            ElementTree(root).write(part, encoding="utf-8")


class TextFiles(Sink):
    """Writes a text file per image or frame, which `get_map.py --dets` reads.

    A detection is a line `class score xmin ymin xmax ymax`, without loss of precision.

    Args:
        folder: The output folder.
    """

    def __init__(self, folder: OutputFolder):
        self._folder = folder

    def take(self, frame: Frame) -> None:
        """Writes one file; it is empty if nothing was found."""
        lines = [" ".join((label, *numbers)) + "\n" for label, *numbers in _rows(frame)]
        with written_whole(self._folder.path(frame.name, ".txt")) as (part,):
            part.write_text("".join(lines), encoding="utf-8")


class CsvTable(Sink):
    """Writes all detections to one CSV file, `detections.csv`.

    Args:
        folder: The output folder.
        with_ids: Whether there is a column with the ids of tracked objects.
    """

    def __init__(self, folder: OutputFolder, with_ids: bool = False):
        self._columns = (*CSV_COLUMNS, "track_id") if with_ids else CSV_COLUMNS
        self._path = folder.path("detections", ".csv")
        self._rows: list[tuple[str, ...]] = []

    def take(self, frame: Frame) -> None:
        """Adds a row per detection. The frame is empty for still images."""
        number = "" if frame.number is None else str(frame.number)
        source = printable(frame.source.address)
        ids = frame.detections.track_ids
        ends = [()] * len(frame.detections) if ids is None else [_id_cell(each) for each in ids]
        self._rows += [
            (source, number, *row, *end) for row, end in zip(_rows(frame), ends, strict=True)
        ]

    def finish(self) -> None:
        """Writes the file."""
        with (
            written_whole(self._path) as (part,),
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(self._columns)
            writer.writerows(self._rows)


def _rows(frame: Frame) -> list[tuple[str, ...]]:
    """Returns class, score and corners of each detection, as texts that read back exactly."""
    found = frame.detections
    numbers = np.column_stack([found.scores, found.boxes]).astype(np.float32).astype(str)
    return [
        (frame.classes[label], *(text.removesuffix(".0") for text in row))
        for label, row in zip(found.labels, numbers, strict=True)
    ]


def _id_cell(track: int) -> tuple[str]:
    """Returns the last cell of a row; it is empty for an object without a track."""
    return (str(track) if track >= 0 else "",)


def _whole_pixels(found: Detections, width: int, height: int) -> np.ndarray:
    """Rounds boxes to integers, at least a pixel wide and high, within 1..width and 1..height."""
    limits = np.array([width, height])
    least = np.minimum(1, limits - 1)
    lower = np.clip(np.rint(found.boxes[:, :2]).astype(int), least, limits - 1)
    upper = np.clip(np.rint(found.boxes[:, 2:]).astype(int), lower + 1, limits)
    return np.hstack([lower, upper])


def _add(parent: Element, **texts: object) -> None:
    for tag, text in texts.items():
        SubElement(parent, tag).text = str(text)
