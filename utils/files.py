"""Writes files atomically, and does not overwrite others by accident."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from utils.errors import JobError, UserError, disk_failure
from utils.parts import MAX_NAME_BYTES, PART, part_of, remove, remove_dead, scratch_folder
from utils.text import cut_to_bytes

BYTES_FOR_PREFIX = 25  # of a temporary file, and for the number of a name that is taken
KEPT_END = 40  # characters of a name that is too long

LOCK = ".lock"  # the lock of a run directory, see `utils.training.run_lock`


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
        self._numbers: dict[str, int] = {}  # of the last path of a name; the search goes on there

    def protect(self, paths: Iterable[Path]) -> None:
        """Protects files, such as the input files of the job, from being overwritten."""
        self._taken |= {_identity(path) for path in paths}

    def path(self, name: str, suffix: str) -> Path:
        """Returns the path for a file `name`, or `name-2`, `name-3`... if that is taken."""
        name = _shortened(name, MAX_NAME_BYTES - BYTES_FOR_PREFIX - len(suffix))
        path = self.folder / f"{name}{suffix}"
        plain = _identity(path)
        number = self._numbers.get(plain, 1)
        while _identity(path) in self._taken or (path.exists() and not self._replace):
            number += 1
            path = self.folder / f"{name}-{number}{suffix}"
        self._taken.add(_identity(path))
        self._numbers[plain] = number
        return path


def _shortened(name: str, limit: int) -> str:
    """Cuts a name to `limit` bytes; its end stays, which can be the number of a frame."""
    if cut_to_bytes(name, limit) == name:
        return name
    end = name[-KEPT_END:]
    return cut_to_bytes(name[:-KEPT_END], limit - len(end.encode("utf-8", "surrogatepass"))) + end


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


def megabytes_of(path: Path) -> float:
    """Returns the size of a file, or of the files in a folder, in millions of bytes."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def is_in_use(folder: Path) -> bool:
    """Whether a path is a file, or a folder that has more than leftovers of a killed process."""
    return folder.exists() and (not folder.is_dir() or _leftovers(folder) != {*folder.iterdir()})


def remove_leftovers(folder: Path) -> None:
    """Removes the lock and the unfinished files that a killed process left in a folder."""
    for path in _leftovers(folder):
        remove(path)


def remove_parts(folder: Path) -> None:
    """Removes the unfinished files that a killed process left in a folder."""
    for path in folder.glob(f"{PART}*"):
        remove(path)


def _leftovers(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.name == LOCK or path.name.startswith(PART)}


@contextlib.contextmanager
def written_whole(
    *paths: Path,
    durable: bool = False,
    shared: bool = False,
    together: bool = False,
    keep_dead: bool = False,
) -> Iterator[list[Path]]:
    """Yields temporary paths to write to. They replace `paths` if the block ends without an error.

    After an error, the temporary paths are removed; after a kill, the next call for the same paths
    removes them. A path can be a file or a folder; a folder replaces only an empty one. Devices and
    pipes cannot be replaced and are written directly.

    Each path is replaced atomically, but several are replaced one after the other, in their order.
    If the process is killed in between, or one cannot be replaced, those before it are new and
    those after it are old, or absent with `together`. Where files are only valid together, put the
    one that readers look for first at the end.

    Args:
        *paths: The final paths, in existing folders.
        durable: Whether to flush the files to disk, so that they survive a power failure.
        shared: Whether other processes, also on other machines, may write the same paths at the
            same time. Temporary paths of killed processes are removed as in `remove_dead`.
        together: Whether old files are removed before the first new one appears, so that a kill
            never leaves old and new ones together.
        keep_dead: Whether temporary paths of killed processes are kept, for callers that count
            them.

    Raises:
        OSError: A path cannot be written. The error names the final path instead of the temporary
            one. If a disk is full or fails, errors that libraries raise in other forms become one.
    """
    parts = [path if _is_stream(path) else part_of(path, shared) for path in paths]
    temporary = {part: path for part, path in zip(parts, paths, strict=True) if part != path}
    try:
        with _final_names(dict(zip(parts, paths, strict=True))):
            for part, path in temporary.items():
                remove(part)  # left behind by a process that was killed
                if shared and not keep_dead:
                    remove_dead(path)
            yield parts
            if durable:
                for part in temporary:
                    flush(part)
            for path in reversed([*temporary.values()][1:] if together else ()):
                path.unlink(missing_ok=True)
            for part, path in temporary.items():
                if part.is_dir() and path.is_dir():
                    remove_leftovers(path)
                    path.rmdir()
                part.replace(path)
                if durable:
                    flush(path.parent)
    finally:
        for part in temporary:
            remove(part)


@contextlib.contextmanager
def merged_whole(out: Path, owned: Mapping[str, str]) -> Iterator[Path]:
    """Yields a temporary folder, and moves its files into `out` at the end of the block.

    Until then, and after an error, an earlier result in `out` stays complete. In the folders
    `owned`, files that were not written again are removed. Nothing else in `out` changes.

    Old files leave before the first new one arrives, so that a kill never leaves old and new ones
    together. Files at the top leave first and arrive last: if all are there, the result is
    complete. A folder of `owned` without other files moves at once.

    Args:
        out: The folder; created if it does not exist.
        owned: Suffixes of the files to remove, by folder within `out`.

    Raises:
        OSError: A file cannot be written, as in `written_whole`.
    """
    out.mkdir(parents=True, exist_ok=True)
    final = {part_of(out / name, shared=True): out for name in ("new", "old")}
    with _final_names(final), scratch_folder(out / "new") as new:
        yield new
        with scratch_folder(out / "old") as old:
            _exchange(out, new, old, owned)


def _exchange(out: Path, new: Path, old: Path, owned: Mapping[str, str]) -> None:
    """Moves the result in `out` to the folder `old`, and that in `new` to `out`.

    After an error, everything is moved back.
    """
    owned = {folder: suffix for folder, suffix in owned.items() if (new / folder).is_dir()}
    folders = {Path(folder) for folder in owned if _has_only(out / folder, owned[folder])}
    outdated = (path for folder in owned for path in (out / folder).glob(f"*{owned[folder]}"))
    files = {path.relative_to(new) for path in new.rglob("*") if not path.is_dir()}
    files |= {path.relative_to(out) for path in outdated}
    files = {file for file in files if folders.isdisjoint(file.parents)}
    units = [*folders, *sorted(files, key=lambda file: (-len(file.parts), file))]
    moves = [
        (out / unit, old / unit)
        for unit in reversed(units)
        if (out / unit).exists() and (out / unit).is_dir() == (unit in folders)
    ]
    moves += [(new / unit, out / unit) for unit in units if (new / unit).exists()]
    done = []
    try:
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            target.replace(source)
        raise


def _has_only(folder: Path, suffix: str) -> bool:
    """Whether a folder has only files with a suffix, so that it can be moved at once."""
    return not folder.is_symlink() and (
        not folder.exists()
        or all(path.suffix == suffix and not path.is_dir() for path in folder.iterdir())
    )


@contextlib.contextmanager
def _final_names(final: Mapping[Path, Path]) -> Iterator[None]:
    """Replaces temporary paths in errors of the block by final ones.

    An error without a path gets that of the first one.

    Args:
        final: Final paths by temporary ones.
    """
    try:
        yield
    except (UserError, JobError):
        raise
    except OSError as error:
        if error.errno is None:  # raised by a library, not by the file system
            if number := disk_failure(error):
                raise _unwritable(number, final) from error
            raise
        error.filename = _final_name(error.filename, final)
        error.filename2 = None
        raise
    except Exception as error:
        if number := disk_failure(error):
            raise _unwritable(number, final) from error
        raise


def _unwritable(number: int, final: Mapping[Path, Path]) -> OSError:
    return OSError(number, os.strerror(number), _final_name(None, final))


def _final_name(name: object, final: Mapping[Path, Path]) -> str:
    if not isinstance(name, str | Path):  # none, or the number of a descriptor
        return str(next(iter(final.values())))
    for part, path in final.items():
        if part in (Path(name), *Path(name).parents):
            return str(path / Path(name).relative_to(part))
    return str(name)


def _is_stream(path: Path) -> bool:
    """Returns whether a path is a device or a pipe, such as /dev/stdout, even if redirected."""
    in_dev = path.absolute().parent == Path("/dev")
    return path.exists() and (in_dev or not (path.is_file() or path.is_dir()))


def flush(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to disk, so that it survives a power failure."""
    if path.is_dir() and os.name != "posix":  # Windows opens no folders
        return
    # Windows flushes only what is open for writing; POSIX opens folders for reading only.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
