"""Writes files atomically, and does not overwrite others by accident."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from utils.errors import UserError

LOCK = ".lock"  # the lock of a run directory, see `utils.training.run_lock`
PART = ".part"  # prefix of files that are being written


class OutputFolder:
    """An output folder that returns each file name only once.

    Args:
        folder: The folder; created if it does not exist.
        replace: Whether files of earlier jobs may be replaced; those of this job never are.
    """

    def __init__(self, folder: Path, replace: bool = True):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._replace = replace
        self._taken = set()

    def protect(self, paths: Iterable[Path]) -> None:
        """Protects files, such as the input files of the job, from being overwritten."""
        self._taken |= {_identity(path) for path in paths}

    def path(self, name: str, suffix: str) -> Path:
        """Returns the path for a file `name`, or `name-2`, `name-3`... if that is taken."""
        path, number = self.folder / f"{name}{suffix}", 1
        while _identity(path) in self._taken or (path.exists() and not self._replace):
            number += 1
            path = self.folder / f"{name}-{number}{suffix}"
        self._taken.add(_identity(path))
        return path


def _identity(path: Path) -> str:
    return str(path.resolve()).casefold()  # on some file systems, a.jpg and A.jpg are one file


def refuse_existing(*paths: Path) -> None:
    """Checks that paths do not exist yet, so that nothing is replaced.

    Raises:
        UserError: One of the paths exists; the message names it.
    """
    for path in paths:
        if path.exists():
            raise UserError(f"{path} already exists, choose another path or move it away")


def is_in_use(folder: Path) -> bool:
    """Whether a path is a file, or a folder that has more than leftovers of a killed process."""
    return folder.exists() and (not folder.is_dir() or _leftovers(folder) != {*folder.iterdir()})


def remove_leftovers(folder: Path) -> None:
    """Removes the lock and the unfinished files that a killed process left in a folder."""
    for path in _leftovers(folder):
        _remove(path)


def _leftovers(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.name == LOCK or path.name.startswith(PART)}


@contextlib.contextmanager
def written_whole(
    *paths: Path, durable: bool = False, shared: bool = False
) -> Iterator[list[Path]]:
    """Yields temporary paths to write to. They replace `paths` if the block ends without an error.

    After an error, the temporary paths are removed. A path can be a file or a folder; a folder
    replaces only an empty one. Devices and pipes cannot be replaced and are written directly. An
    `OSError` names the final path instead of the temporary one.

    Args:
        *paths: The final paths, in existing folders.
        durable: Whether to flush the files to disk, so that they survive a power failure.
        shared: Whether other processes may write the same paths at the same time.
    """
    # The suffix stays the same, since many writers choose the format by it.
    prefix = f"{PART}.{os.getpid()}" if shared else PART
    parts = [
        path if _is_stream(path) else path.with_name(f"{prefix}.{path.name}") for path in paths
    ]
    temporary = [part for part, path in zip(parts, paths, strict=True) if part != path]
    try:
        for part in temporary:
            _remove(part)  # left behind by a process that was killed
        yield parts
        for part, path in zip(parts, paths, strict=True):
            if part == path:
                continue
            if durable:
                _flush(part)
            if part.is_dir() and path.is_dir():
                remove_leftovers(path)
                path.rmdir()
            part.replace(path)
            if durable:
                _flush(path.parent)
    except OSError as error:
        names = dict(zip(map(str, parts), map(str, paths), strict=True))
        if error.filename is None or str(error.filename) in names:
            error.filename = names.get(str(error.filename), str(paths[0]))
            error.filename2 = None
        raise
    finally:
        for part in temporary:
            _remove(part)


@contextlib.contextmanager
def merged_whole(out: Path, owned: Mapping[str, str]) -> Iterator[Path]:
    """Yields a temporary folder, and moves its files into `out` at the end of the block.

    Until then, and after an error, an earlier result in `out` stays complete. In the folders
    `owned`, files that were not written again are removed. Nothing else in `out` changes.

    Args:
        out: The folder; created if it does not exist.
        owned: Suffixes of the files to remove, by folder within `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=out))
    try:
        yield new
        for folder, suffix in owned.items():
            renewed = {path.name for path in (new / folder).glob("*")}
            for old in (out / folder).glob(f"*{suffix}") if renewed else ():
                if old.name not in renewed:
                    old.unlink()
        for path in sorted(new.rglob("*")):
            target = out / path.relative_to(new)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                path.replace(target)
    finally:
        shutil.rmtree(new)


def _is_stream(path: Path) -> bool:
    """Returns whether a path is a device or a pipe, such as /dev/stdout, even if redirected."""
    in_dev = path.absolute().parent == Path("/dev")
    return path.exists() and (in_dev or not (path.is_file() or path.is_dir()))


def _flush(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # Windows opens no folders
        return
    # Windows flushes only what is open for writing; POSIX opens folders for reading only.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
        return
    # If there is no such folder, writing the path reports it.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
