"""Annotated images, one by one or as the columns of a set."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from utils.data.tables import objects_of_rows


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """An image and its annotated objects.

    Attributes:
        image_id: Name of the image without suffix.
        image: The image file.
        boxes: float32 (N, 4), xyxy pixels as annotated; they may extend beyond the image.
        labels: int32 (N,), indices into the list of classes.
        difficult: bool (N,), objects that VOC's evaluation ignores.
        width: Width of the image as decoded, after its EXIF orientation was applied.
        height: Height of the image as decoded.
        crowd: bool (N,), objects that are crowds of COCO; by default, none is.
    """

    image_id: str
    image: Path
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    width: int
    height: int
    crowd: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.crowd is None:
            object.__setattr__(self, "crowd", np.zeros(len(self.boxes), bool))


@dataclass(frozen=True, eq=False)
class Samples(Sequence[Sample]):
    """N samples with M objects as columns, each made when it is asked for.

    As objects, large sets take seconds to make, to count and to send to another process.

    Attributes:
        image_ids: Names of the images without suffix.
        folders: Folders of the image files.
        files: Names of the image files.
        sizes: int32 (N, 2), height and width of the images as decoded.
        starts: int64 (N + 1,), the objects of sample i are those from `starts[i]` to
            `starts[i + 1]`.
        boxes: float32 (M, 4), see `Sample`.
        labels: int32 (M,).
        difficult: bool (M,).
        crowd: bool (M,).
    """

    image_ids: list[str]
    folders: list[Path]
    files: list[str]
    sizes: np.ndarray
    starts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> "Samples":
        """Returns the columns of samples."""
        if isinstance(samples, Samples):
            return samples
        samples = list(samples)
        return cls(
            [each.image_id for each in samples],
            [each.image.parent for each in samples],
            [each.image.name for each in samples],
            np.array([(each.height, each.width) for each in samples], np.int32).reshape(-1, 2),
            np.cumsum([0, *(len(each.boxes) for each in samples)], dtype=np.int64),
            np.concatenate([np.zeros((0, 4), np.float32), *(each.boxes for each in samples)]),
            np.concatenate([np.zeros(0, np.int32), *(each.labels for each in samples)]),
            np.concatenate([np.zeros(0, bool), *(each.difficult for each in samples)]),
            np.concatenate([np.zeros(0, bool), *(each.crowd for each in samples)]),
        )

    @classmethod
    def joined(cls, parts: Sequence["Samples"]) -> "Samples":
        """Returns the samples of all parts, one part after the other."""
        counts = [each.counts for each in parts]
        return cls(
            [image_id for each in parts for image_id in each.image_ids],
            [folder for each in parts for folder in each.folders],
            [file for each in parts for file in each.files],
            np.concatenate([each.sizes for each in parts]),
            np.cumsum(np.concatenate([[0], *counts]), dtype=np.int64),
            np.concatenate([each.boxes for each in parts]),
            np.concatenate([each.labels for each in parts]),
            np.concatenate([each.difficult for each in parts]),
            np.concatenate([each.crowd for each in parts]),
        )

    @property
    def counts(self) -> np.ndarray:
        """Number of objects of each sample: int64 (N,)."""
        return np.diff(self.starts)

    def take(self, rows: np.ndarray) -> "Samples":
        """Returns the samples of some rows."""
        starts, objects = objects_of_rows(self.starts, rows)
        chosen = rows.tolist()
        return Samples(
            [self.image_ids[row] for row in chosen],
            [self.folders[row] for row in chosen],
            [self.files[row] for row in chosen],
            self.sizes[rows],
            starts,
            self.boxes[objects],
            self.labels[objects],
            self.difficult[objects],
            self.crowd[objects],
        )

    def image(self, row: int) -> Path:
        """Returns the image file of a sample."""
        return self.folders[row] / self.files[row]

    def __len__(self) -> int:
        return len(self.image_ids)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> "Samples": ...

    def __getitem__(self, index: int | slice) -> "Sample | Samples":
        rows = range(len(self))[index]
        if isinstance(rows, range):
            return self.take(np.array(rows, int))
        part = slice(*self.starts[rows : rows + 2].tolist())
        height, width = self.sizes[rows].tolist()
        return Sample(
            self.image_ids[rows],
            self.image(rows),
            self.boxes[part],
            self.labels[part],
            self.difficult[part],
            width,
            height,
            self.crowd[part],
        )
