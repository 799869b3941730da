"""Sinks, which receive frames. Each writes one kind of output: files, text or JSON."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.data.encoding import write_image
from utils.data.images import WRITTEN_SUFFIXES
from utils.files import OutputFolder
from utils.inference.detections import to_json
from utils.inference.draw import draw_heatmap
from utils.inference.frames import Frame
from utils.inference.line_counter import describe_crossings
from utils.inference.predictor import Predictor
from utils.inference.sources import Source
from utils.inference.video import VideoWriter
from utils.text import FORBIDDEN_IN_FILE_NAMES, clean_file_name, counted

GAPS_IN_CROP_NAMES = re.compile(rf"({FORBIDDEN_IN_FILE_NAMES.pattern}|\s)+")


class Sink:
    """Receives every frame; subclasses override the hooks that they need.

    The runner calls `begin` once per list of sources. For each source it then calls `recording`
    (videos only), `take` once per frame, and `end`; for one that cannot be read, only `fail`. It
    calls `finish` once, at the very end.
    """

    def begin(self, sources: Sequence[Source]) -> None:
        """Called before the first of these sources is read."""

    @contextmanager
    def recording(self, source: Source, fps: float) -> Iterator[None]:
        """Returns a context for all frames of a video. Errors that end the video are raised in it.

        Args:
            source: The video, camera or stream.
            fps: Frames per second.
        """
        yield

    def take(self, frame: Frame) -> None:
        """Called once per frame, in order."""

    def end(self, source: Source) -> None:
        """Called after each source that could be read, when its files are closed."""

    def fail(self, source: Source, message: str) -> None:
        """Called for a source that cannot be read, or, before `end`, for one that ends early.

        Args:
            source: The source.
            message: The error.
        """

    def finish(self) -> None:
        """Called once, after the last source."""


class Pictures(Sink):
    """Writes images and videos with the detections drawn in.

    Args:
        folder: The output folder; sources in it are not overwritten.

    Attributes:
        path: The file of the current source.
    """

    ending = ""  # of the names of the written files

    def __init__(self, folder: OutputFolder):
        self._folder = folder

    def render(self, frame: Frame) -> np.ndarray:
        """Returns the picture to write, RGB uint8 of the same size as the frame."""
        return frame.drawn

    def begin(self, sources: Sequence[Source]) -> None:
        """Protects the sources from being overwritten."""
        self._folder.protect(Path(source.address) for source in sources)

    @contextmanager
    def recording(self, source: Source, fps: float) -> Iterator[None]:
        """Opens the video file; after an error, no file remains."""
        self.path = self._folder.path(source.name + self.ending, ".mp4")
        with VideoWriter(self.path, fps) as self._video:
            yield

    def take(self, frame: Frame) -> None:
        """Writes an image, in the format of its source if possible, or a frame of a video."""
        if not frame.source.is_image:
            self._video.write(self.render(frame), frame.seconds)
            return
        suffix = Path(frame.source.address).suffix.lower()
        suffix = suffix if suffix in WRITTEN_SUFFIXES else ".png"
        self.path = self._folder.path(frame.source.name + self.ending, suffix)
        write_image(self.path, self.render(frame))


class Heatmaps(Pictures):
    """Writes images and videos with a heat map of the scores.

    Args:
        folder: The output folder; sources in it are not overwritten.
        predictor: Computes the heat maps.

    Raises:
        UserError: The model does not give the scores of all predictions.
    """

    ending = "_heatmap"

    def __init__(self, folder: OutputFolder, predictor: Predictor):
        super().__init__(folder)
        self._predictor = predictor
        predictor.heatmap(np.zeros((1, 1, 3), np.uint8))  # fails before anything is written

    def render(self, frame: Frame) -> np.ndarray:
        """Returns the frame with its heat map drawn over it."""
        return draw_heatmap(frame.image, self._predictor.heatmap(frame.image))


class Crops(Sink):
    """Writes every object to a separate PNG file.

    Args:
        folder: The output folder.
    """

    def __init__(self, folder: OutputFolder):
        self._folder = folder

    def take(self, frame: Frame) -> None:
        """Writes the pixels of each box, rounded outwards."""
        found = frame.detections
        for box, label in zip(found.boxes, found.labels, strict=True):
            xmin, ymin = np.floor(box[:2]).astype(int)
            xmax, ymax = np.ceil(box[2:]).astype(int)
            class_name = clean_file_name(GAPS_IN_CROP_NAMES.sub("_", frame.classes[label]))
            path = self._folder.path(f"{frame.name}_{class_name}", ".png")
            write_image(path, frame.image[ymin:ymax, xmin:xmax])


class TextLines(Sink):
    """Prints where each result was written, and a line per object of an image.

    Args:
        pictures: The sink that writes the results. It must receive frames before this one.
    """

    def __init__(self, pictures: Pictures):
        self._pictures = pictures
        self._frames = 0

    def take(self, frame: Frame) -> None:
        """Prints the detections of an image; counts the frames of a video."""
        if frame.number is not None:
            self._frames = 1 if frame.number == 0 else self._frames + 1
            return
        _print(f"{frame.source.address} -> {self._pictures.path}")
        found = frame.detections
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            corners = " ".join(f"{corner:.0f}" for corner in box)
            _print(f"  {frame.classes[label]} {score:.2f} [{corners}]")

    def end(self, source: Source) -> None:
        """Prints the number of frames of a video."""
        if not source.is_image:
            frames = counted(self._frames, "frame")
            _print(f"{source.address} -> {self._pictures.path}, {frames}")


class ClassCounts(Sink):
    """Prints the number of objects per class, for each image and for all images together.

    For a video, it prints the maximum number per class in a single frame.
    """

    def __init__(self) -> None:
        self._total = Counter()
        self._largest = Counter()
        self._images = 0

    def take(self, frame: Frame) -> None:
        """Counts the objects, and prints the counts of an image."""
        labels = frame.detections.labels.tolist()
        counts = Counter((label, frame.classes[label]) for label in labels)
        if frame.number is None:
            self._images += 1
            self._total += counts
            _print(f"  {_in_words(counts)}")
        else:
            self._largest = counts if frame.number == 0 else self._largest | counts

    def end(self, source: Source) -> None:
        """Prints the counts of a video."""
        if not source.is_image:
            _print(f"  maximum in one frame: {_in_words(self._largest)}")

    def finish(self) -> None:
        """Prints the counts of all images if there were several."""
        if self._images > 1:
            _print(f"in all images: {_in_words(self._total)}")


class LineCounts(Sink):
    """Prints how many objects of each class have crossed the line of a video, by direction."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def take(self, frame: Frame) -> None:
        """Keeps the counts up to this frame."""
        self._texts = describe_crossings(frame.tracks.crossings, frame.classes)

    def end(self, source: Source) -> None:
        """Prints the counts of a video."""
        if self._texts:
            _print(f"  crossed the line: {'; '.join(self._texts)}")
        self._texts = []


def entry_of(frame: Frame) -> dict[str, Any]:
    """Returns the entry of an image or frame that `--json` prints."""
    size = frame.image.shape[:2]
    entry = to_json(frame.source.address, size, frame.detections, frame.classes)
    if frame.number is not None:
        entry["frame"] = frame.number
    if frame.tracks and frame.tracks.crossings:
        entry["line_counts"] = {
            direction: {frame.classes[label]: number for label, number in sorted(counts.items())}
            for direction, counts in frame.tracks.crossings.items()
        }
    return entry


class JsonDocument(Sink):
    """Prints one JSON document with an entry per image and per frame."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []

    def take(self, frame: Frame) -> None:
        """Adds an entry."""
        self._entries.append(entry_of(frame))

    def finish(self) -> None:
        """Prints the document."""
        print(json.dumps(self._entries))


class NothingFoundNote(Sink):
    """Prints a note on standard error if no source had any object."""

    def __init__(self) -> None:
        self._objects = 0
        self._sources = 0

    def take(self, frame: Frame) -> None:
        """Counts the objects."""
        self._objects += len(frame.detections)

    def end(self, source: Source) -> None:
        """Counts the sources that could be read."""
        self._sources += 1

    def finish(self) -> None:
        """Prints the note."""
        if self._sources and not self._objects:
            print("note: nothing was found, try a lower --conf", file=sys.stderr)


def _in_words(counts: Counter[tuple[int, str]]) -> str:
    """Formats numbers and names of classes, in the order of their labels."""
    names = (f"{number} {name}" for (_, name), number in sorted(counts.items()))
    return ", ".join(names) or "nothing"


def _print(line: str) -> None:
    tqdm.write(line, file=sys.stdout)  # does not break a progress bar
