"""Reads each file of VOC folders once per job, and only if it has changed since an earlier job."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from utils.data.annotation_cache import FolderCache, empty_cache, load_cache, save_cache
from utils.data.faults import Fault
from utils.data.file_contents import try_annotation, try_header, try_pixels, try_whole
from utils.data.folder_files import FolderFiles
from utils.data.images import IMAGE_SUFFIXES
from utils.data.imagesets import choose_files
from utils.data.objects import annotated_frame
from utils.data.orientation import FrameCounts, ImageLayout
from utils.data.parallel import read_all
from utils.data.vocxml import Annotation

WORTH_KEEPING = 1000  # files that were read; fewer are read again in a second


class VocFolder:
    """A VOC folder whose files are read as needed, and each only once.

    Args:
        voc_dir: The folder.
        cache: What an earlier job kept.
        decodes: Whether images are decoded as soon as their headers are read.

    Attributes:
        images: The image files, and the size and orientation of those that were read.
        annotations: The annotation files, and the content of those that were read.
        unused: Image files of the same name as another one, each with the one that is used.
    """

    def __init__(self, voc_dir: Path, cache: FolderCache, decodes: bool):
        self._voc_dir = voc_dir
        folder = voc_dir / "JPEGImages"
        names, others = choose_files(folder, IMAGE_SUFFIXES)
        self.unused = {
            folder / other: folder / names[stem] for stem in others for other in others[stem]
        }
        read = try_whole if decodes else try_header
        self.images = FolderFiles(folder, names, cache.images, read, "reading images")
        folder = voc_dir / "Annotations"
        names, _ = choose_files(folder, (".xml",))
        self.annotations = FolderFiles(
            folder, names, cache.annotations, try_annotation, "reading annotations"
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
        _, digests, shapes = self.images.table
        new = [each for each in image_ids if each not in faults and not shapes[row_of[each], 0]]
        results = read_all(
            lambda each: try_pixels(self.images.path(each), self.layout(each)),
            new,
            description,
            self.images.path,
        )
        for image_id, result in zip(new, results, strict=True):
            if isinstance(result, Fault):
                self._undecodable[image_id] = faults[image_id] = result
            else:
                row = row_of[image_id]
                digests[row], shapes[row] = np.frombuffer(result.digest, np.uint8), result.shape
                self._decoded += 1
        whole = np.concatenate([digests, shapes.view(np.uint8)], axis=1).view("V24")[:, 0].tolist()
        return [faults.get(each) or whole[row_of[each]] for each in image_ids]

    @cached_property
    def frame_counts(self) -> FrameCounts:
        """What the annotations of all images show, so that every image set gets the same answer."""
        image_ids = [each for each in self.images.names if each in self.annotations.names]
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
        thorough: Whether the job decodes every image. Each file is then opened only once, what
            earlier jobs kept is used, and `save` keeps what this one has read.
    """

    def __init__(self, thorough: bool = False):
        self._thorough = thorough
        self._folders: dict[Path, VocFolder] = {}

    def folder(self, voc_dir: Path) -> VocFolder:
        """Returns a folder, whose files are listed on the first call."""
        if voc_dir not in self._folders:
            cache = load_cache(voc_dir) if self._thorough else empty_cache()
            self._folders[voc_dir] = VocFolder(voc_dir, cache, self._thorough)
        return self._folders[voc_dir]

    def save(self) -> None:
        """Keeps what was read for later jobs, unless there is little of it."""
        if self._thorough:
            for folder in self._folders.values():
                folder.save()


def group_by_folder(folders: Iterable[Path]) -> dict[Path, list[int]]:
    """Returns the indices of images by their folders, in their order."""
    groups: dict[Path, list[int]] = {}
    folder, members = None, []
    for index, each in enumerate(folders):
        if each is not folder:  # nearly always the same one, whose hash takes time
            folder, members = each, groups.setdefault(each, [])
        members.append(index)
    return groups
