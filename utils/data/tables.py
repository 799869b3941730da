"""The content of many annotation and image files as columns, which are small and fast to search."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from utils.data.orientation import ImageLayout
from utils.data.vocxml import Annotation, StatedObject


def objects_of_rows(starts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the objects of some rows of a table.

    Args:
        starts: int64 (N + 1,), the objects of row i are those from `starts[i]` to `starts[i + 1]`.
        rows: (R,), the rows.

    Returns:
        The starts (R + 1,) of a table with these rows only, and the indices of its objects.
    """
    counts = np.diff(starts)[rows]
    new_starts = np.concatenate([[0], np.cumsum(counts)])
    return new_starts, np.arange(new_starts[-1]) + np.repeat(starts[rows] - new_starts[:-1], counts)


class AnnotationTable(NamedTuple):
    """The content of N annotation files with M objects, see `Annotation`.

    Attributes:
        sizes: float64 (N, 2), height and width as stated; NaN where they are not.
        starts: int64 (N + 1,), the objects of file i are those from `starts[i]` to `starts[i + 1]`.
        boxes: float64 (M, 4), xyxy as stated.
        class_of: int32 (M,), indices into `classes`.
        difficult: bool (M,).
        crowd: bool (M,).
        classes: Names of the classes, without repetition.
    """

    sizes: np.ndarray
    starts: np.ndarray
    boxes: np.ndarray
    class_of: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    classes: list[str]

    @classmethod
    def of(cls, annotations: Sequence[Annotation]) -> "AnnotationTable":
        """Makes the table of annotations."""
        objects = list(chain.from_iterable(each.objects for each in annotations))
        classes = list(dict.fromkeys(each.name for each in objects))
        index_of = {name: index for index, name in enumerate(classes)}
        unknown = (np.nan, np.nan)
        return cls(
            np.array([each.size or unknown for each in annotations], float).reshape(-1, 2),
            np.cumsum([0, *(len(each.objects) for each in annotations)], dtype=np.int64),
            np.array([each.box for each in objects], float).reshape(-1, 4),
            np.array([index_of[each.name] for each in objects], np.int32),
            np.array([each.difficult for each in objects], bool),
            np.array([each.crowd for each in objects], bool),
            classes,
        )

    def annotation(self, row: int) -> Annotation:
        """Returns the content of a file."""
        height, width = self.sizes[row].tolist()
        part = slice(*self.starts[row : row + 2].tolist())
        columns = (self.class_of, self.boxes, self.difficult, self.crowd)
        values = (column[part].tolist() for column in columns)
        return Annotation(
            None if np.isnan(height) else (height, width),
            [
                StatedObject(self.classes[name], tuple(box), difficult, crowd)
                for name, box, difficult, crowd in zip(*values, strict=True)
            ],
        )

    def take(self, rows: np.ndarray) -> "AnnotationTable":
        """Returns the table of some files."""
        starts, objects = objects_of_rows(self.starts, rows)
        columns = (
            each[objects] for each in (self.boxes, self.class_of, self.difficult, self.crowd)
        )
        return AnnotationTable(self.sizes[rows], starts, *columns, self.classes)

    def followed_by(self, other: "AnnotationTable") -> "AnnotationTable":
        """Returns a table with the files of another one after those of this one."""
        classes = list(dict.fromkeys(self.classes + other.classes))
        index_of = {name: index for index, name in enumerate(classes)}
        index_in_joined = np.array([index_of[name] for name in other.classes], np.int32)
        return AnnotationTable(
            np.concatenate([self.sizes, other.sizes]),
            np.concatenate([self.starts, other.starts[1:] + self.starts[-1]]),
            np.concatenate([self.boxes, other.boxes]),
            np.concatenate([self.class_of, index_in_joined[other.class_of]]),
            np.concatenate([self.difficult, other.difficult]),
            np.concatenate([self.crowd, other.crowd]),
            classes,
        )


class ImageContent(NamedTuple):
    """What was read from an image file.

    Attributes:
        layout: Size and orientation.
        digest: 16 bytes, digest of the pixels at an eighth of the size.
        shape: Height and width of these pixels; 0 if they were not decoded.
    """

    layout: ImageLayout
    digest: bytes = bytes(16)
    shape: tuple[int, int] = (0, 0)


class ImageTable(NamedTuple):
    """What was read from N image files, see `ImageContent`.

    Attributes:
        layouts: int32 (N, 3), height, width and orientation.
        digests: uint8 (N, 16).
        shapes: int32 (N, 2).
    """

    layouts: np.ndarray
    digests: np.ndarray
    shapes: np.ndarray

    @classmethod
    def of(cls, images: Sequence[ImageContent]) -> "ImageTable":
        """Makes the table of images."""
        layouts = [
            (each.layout.height, each.layout.width, each.layout.orientation) for each in images
        ]
        return cls(
            np.array(layouts, np.int32).reshape(-1, 3),
            np.frombuffer(b"".join(each.digest for each in images), np.uint8).reshape(-1, 16),
            np.array([each.shape for each in images], np.int32).reshape(-1, 2),
        )

    def take(self, rows: np.ndarray) -> "ImageTable":
        """Returns the table of some files."""
        return ImageTable(*(each[rows] for each in self))

    def followed_by(self, other: "ImageTable") -> "ImageTable":
        """Returns a table with the files of another one after those of this one."""
        return ImageTable(*map(np.concatenate, zip(self, other, strict=True)))
