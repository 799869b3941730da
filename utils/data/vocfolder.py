"""Reads each file of VOC folders once per job, and only if it has changed since an earlier job."""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np

from utils.data.annotation_cache import (
    CachedFiles,
    FolderCache,
    Stamp,
    empty_cache,
    load_cache,
    save_cache,
    settled,
)
from utils.data.faults import UNREADABLE_ANNOTATION, UNREADABLE_IMAGE, Fault
from utils.data.images import IMAGE_SUFFIXES, read_image, read_image_header
from utils.data.imagesets import ImageRef, annotation_files, files_by_name
from utils.data.objects import annotated_frame
from utils.data.orientation import FrameCounts, ImageLayout
from utils.data.parallel import read_all
from utils.data.reading import describe_read_error
from utils.data.vocxml import Annotation, read_annotation
from utils.errors import UserError

WORTH_KEEPING = 1000  # files that were read; fewer are read again in a second
NO_STAMP: Stamp = (-1, -1, -1)  # of a file that cannot be kept; equal to no other


class FolderFiles:
    """The files of one kind in a folder, and what was read from them.

    Args:
        paths: The files by image id.
        cached: What an earlier job kept.
        read: Reads a file; returns its content or a fault.
        description: What is read, for the progress bar.

    Attributes:
        paths: The files by image id.
        table: The content of the files that were read and have no fault.
        row_of: Row of `table` by image id.
        faults: Why the others that were read cannot be used, by image id.
        news: Number of files with content that an earlier job did not keep.
    """

    def __init__(
        self,
        paths: dict[str, Path],
        cached: CachedFiles,
        read: Callable[[Path], object],
        description: str,
    ):
        self.paths = paths
        self.table = cached.table.take(np.zeros(0, int))
        self.row_of: dict[str, int] = {}
        self.faults: dict[str, Fault] = {}
        self.news = 0
        self._stamps = np.zeros((0, 3), np.int64)
        self._cached = cached
        self._read = read
        self._description = description

    def read(self, image_ids: Iterable[str]) -> None:
        """Reads the files of images, except those that are missing or were read before.

        Raises:
            JobError: The disk or network folder does not respond.
        """
        wanted = [
            each
            for each in dict.fromkeys(image_ids)
            if each in self.paths and each not in self.row_of and each not in self.faults
        ]
        if not wanted:
            return
        paths = [self.paths[each] for each in wanted]
        # Before the files are read: one that changes meanwhile has another stamp next time.
        stamps = np.array(read_all(_stamp_of, paths, "looking for changes"), np.int64)
        stamps[~settled(stamps)] = NO_STAMP
        unchanged, rows = self._unchanged(paths, stamps)
        self._add([wanted[i] for i in unchanged], self._cached.table.take(rows), stamps[unchanged])
        changed = np.setdiff1d(np.arange(len(wanted)), unchanged, assume_unique=True)
        results = read_all(self._read, [paths[i] for i in changed], self._description)
        usable, contents = [], []
        for i, result in zip(changed, results, strict=True):
            if isinstance(result, Fault):
                self.faults[wanted[i]] = result
            else:
                usable.append(i)
                contents.append(result)
        self._add([wanted[i] for i in usable], self.table.of(contents), stamps[usable])
        self.news += len(usable)

    def _unchanged(self, paths: list[Path], stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices of unchanged files, and their rows in the table of the cache."""
        if not self._cached.names:
            return np.zeros(0, int), np.zeros(0, int)
        row_of = {name: row for row, name in enumerate(self._cached.names)}
        rows = np.array([row_of.get(path.name, -1) for path in paths])
        is_same = (rows >= 0) & (stamps == self._cached.stamps[rows]).all(axis=1)
        is_same &= (stamps != NO_STAMP).all(axis=1)
        return np.flatnonzero(is_same), rows[is_same]

    def _add(self, image_ids: list[str], table: object, stamps: np.ndarray) -> None:
        if image_ids:
            self.row_of |= zip(image_ids, range(len(self.row_of), 2**62), strict=False)
            self.table = self.table.followed_by(table)
            self._stamps = np.concatenate([self._stamps, stamps])

    def to_keep(self) -> CachedFiles:
        """Returns the content of all files that a later job can use."""
        rows = np.flatnonzero((self._stamps != NO_STAMP).all(axis=1))
        ids = list(self.row_of)
        names = [self.paths[ids[row]].name for row in rows]
        # Files that this job did not need, such as those of other image sets.
        replaced = {path.name for path in map(self.paths.get, (*self.row_of, *self.faults))}
        others = {path.name for path in self.paths.values()} - replaced
        kept = [row for row, name in enumerate(self._cached.names) if name in others]
        return CachedFiles(
            names + [self._cached.names[row] for row in kept],
            np.concatenate([self._stamps[rows], self._cached.stamps[kept]]),
            self.table.take(rows).followed_by(self._cached.table.take(np.array(kept, int))),
        )


class VocFolder:
    """A VOC folder whose files are read as needed, and each only once.

    Args:
        voc_dir: The folder.
        cache: What an earlier job kept.

    Attributes:
        images: The image files by id, and the size and orientation of those that were read.
        annotations: The annotation files by id, and the content of those that were read.
        unused: Image files of the same name as another one, each with the one that is used.
    """

    def __init__(self, voc_dir: Path, cache: FolderCache):
        self._voc_dir = voc_dir
        by_name = files_by_name(voc_dir / "JPEGImages", IMAGE_SUFFIXES)
        images = {name: paths[0] for name, paths in by_name.items()}
        self.unused = {path: used for used, *others in by_name.values() for path in others}
        self.images = FolderFiles(images, cache.images, try_layout, "reading image headers")
        self.annotations = FolderFiles(
            annotation_files(voc_dir), cache.annotations, _try_annotation, "reading annotations"
        )
        self._undecodable: dict[str, Fault] = {}
        self._decoded = 0

    def annotation(self, image_id: str) -> Annotation | Fault:
        """Returns the content of an annotation that was read."""
        row = self.annotations.row_of.get(image_id)
        if row is None:
            return self.annotations.faults[image_id]
        return self.annotations.table.annotation(row)

    def layout(self, image_id: str) -> ImageLayout | Fault:
        """Returns the size and orientation of an image that was read."""
        row = self.images.row_of.get(image_id)
        if row is None:
            return self.images.faults[image_id]
        return ImageLayout(*self.images.table.layouts[row].tolist())

    def digests(self, image_ids: Sequence[str], description: str) -> list[bytes | Fault]:
        """Decodes images, unless that was done before.

        Args:
            image_ids: The images.
            description: What is done, for the progress bar.

        Returns:
            The digest of the pixels of each image at an eighth of the size, or a fault.

        Raises:
            JobError: The disk or network folder does not respond.
        """
        self.images.read(image_ids)
        row_of, faults = self.images.row_of, self.images.faults | self._undecodable
        layouts, digests, shapes = self.images.table
        new = [each for each in image_ids if each not in faults and not shapes[row_of[each], 0]]
        sizes = {self.images.paths[each]: tuple(layouts[row_of[each], :2].tolist()) for each in new}
        results = read_all(lambda path: _digest(path, sizes[path]), list(sizes), description)
        for image_id, result in zip(new, results, strict=True):
            if isinstance(result, Fault):
                self._undecodable[image_id] = faults[image_id] = result
            else:
                digests[row_of[image_id]], shapes[row_of[image_id]] = result
                self._decoded += 1
        whole = np.concatenate([digests, shapes.view(np.uint8)], axis=1).view("V24")[:, 0].tolist()
        return [faults.get(each) or whole[row_of[each]] for each in image_ids]

    @cached_property
    def frame_counts(self) -> FrameCounts:
        """What the annotations of all images show, so that every image set gets the same answer."""
        image_ids = [each for each in self.images.paths if each in self.annotations.paths]
        self.images.read(image_ids)
        turned = []
        for image_id in image_ids:
            layout = self.layout(image_id)
            if not isinstance(layout, Fault) and layout.stored_size != layout.size:
                turned.append((image_id, layout))
        self.annotations.read(image_id for image_id, _ in turned)
        counts = Counter(
            annotated_frame(annotation, layout)
            for image_id, layout in turned
            # A fault is reported if the image is used.
            if not isinstance(annotation := self.annotation(image_id), Fault)
        )
        return FrameCounts(counts["stored"], counts["decoded"])

    def save(self) -> None:
        """Keeps what was read for later jobs, if that takes longer than a second to read again."""
        if self.annotations.news + self.images.news + self._decoded >= WORTH_KEEPING:
            cache = FolderCache(self.annotations.to_keep(), self.images.to_keep())
            save_cache(self._voc_dir, cache)


class VocFolders:
    """The VOC folders of a job.

    Args:
        is_cached: Whether to use what earlier jobs kept; `save` keeps what this one has read.
    """

    def __init__(self, is_cached: bool = False):
        self._is_cached = is_cached
        self._folders: dict[Path, VocFolder] = {}

    def folder(self, voc_dir: Path) -> VocFolder:
        """Returns a folder, whose files are listed on the first call."""
        if voc_dir not in self._folders:
            cache = load_cache(voc_dir) if self._is_cached else empty_cache()
            self._folders[voc_dir] = VocFolder(voc_dir, cache)
        return self._folders[voc_dir]

    def grouped(self, refs: Iterable[ImageRef]) -> dict[Path, list[str]]:
        """Groups image ids by VOC folder, in their order."""
        groups = defaultdict(list)
        for voc_dir, image_id in refs:
            groups[voc_dir].append(image_id)
        return groups

    def save(self) -> None:
        """Keeps what was read for later jobs, unless there is little of it."""
        if self._is_cached:
            for folder in self._folders.values():
                folder.save()


def try_layout(image: Path) -> ImageLayout | Fault:
    """Reads size and orientation of an image from its header; returns a fault if that fails."""
    if image.suffix.lower() not in IMAGE_SUFFIXES:
        kind = image.suffix or "without suffix"
        detail = f"images {kind} are not supported, convert them to JPEG"
        return Fault(UNREADABLE_IMAGE, image, detail)
    try:
        (height, width), orientation = read_image_header(image)
    except (UserError, OSError) as error:
        return Fault(UNREADABLE_IMAGE, image, describe_read_error(error, image))
    return ImageLayout(height, width, int(orientation) if orientation in range(1, 9) else 1)


def _try_annotation(path: Path) -> Annotation | Fault:
    try:
        return read_annotation(path)
    except (UserError, OSError) as error:
        return Fault(UNREADABLE_ANNOTATION, path, str(error))


def _digest(image: Path, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]] | Fault:
    """Returns a digest of the pixels at an eighth of the size, and their height and width."""
    try:
        small = read_image(image, (1, 1), size)
    except (UserError, OSError) as error:
        return Fault(UNREADABLE_IMAGE, image, describe_read_error(error, image))
    return np.frombuffer(blake2b(small, digest_size=16).digest(), np.uint8), small.shape[:2]


def _stamp_of(path: Path) -> Stamp:
    """Returns what changes with the content of a file; `NO_STAMP` if it cannot be kept."""
    try:
        status = os.stat(path)  # noqa: PTH116  half the time of Path.stat
    except OSError:
        return NO_STAMP  # reading it reports why
    if not stat.S_ISREG(status.st_mode):
        return NO_STAMP
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
