"""Puts the images of a dataset into a new folder, as links or as copies."""

import contextlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from utils.data.formats.records import ImageEntry
from utils.errors import UserError
from utils.files import is_in_use, written_whole


def check_output(out: Path) -> None:
    """Checks that a dataset can be written to a folder, before anything is read.

    Raises:
        UserError: The folder has files, or the path is a file.
    """
    if is_in_use(out):
        raise UserError(f"{out} already contains files, choose a new folder or remove it")


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder that becomes `out` if the block ends without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as (part,):
        part.mkdir()
        yield part


def place_images(images: Sequence[ImageEntry], folder: Path, copy: bool) -> None:
    """Links or copies images into a folder under their names in the dataset.

    Links are absolute, so that the folder can be moved; the images cannot. Where links cannot be
    made, the images are copied, and a line on standard error says so.

    Args:
        images: The images.
        folder: The folder; created.
        copy: Whether to copy them.

    Raises:
        OSError: An image cannot be read or written.
    """
    folder.mkdir(parents=True)
    if images and not copy:
        copy = not _can_link(images[0], folder)
    for image in with_progress(images, "copying images" if copy else "linking images"):
        target = folder / image.file_name
        if copy:
            shutil.copyfile(image.path, target)
        else:
            target.symlink_to(image.path.resolve())


def with_progress(images: Sequence[ImageEntry], description: str) -> Iterable[ImageEntry]:
    """Yields images, with a progress bar on standard error if that takes more than 2 seconds.

    One thread writes all files: after an error, others would still write into the folder while it
    is removed.
    """
    return tqdm(images, description, delay=2, leave=False, disable=None)


def _can_link(image: ImageEntry, folder: Path) -> bool:
    target = folder / image.file_name
    try:
        target.symlink_to(image.path.resolve())
    except (OSError, NotImplementedError) as error:
        # Windows without the right to, FAT, some network shares.
        reason = getattr(error, "strerror", None) or str(error)
        print(f"images cannot be linked ({reason.lower()}), copying them", file=sys.stderr)
        return False
    target.unlink()
    return True
