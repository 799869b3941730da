"""The command-line interface that all scripts share: flags, error messages and exit codes."""

import argparse
import contextlib
import errno
import logging
import math
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NoReturn

from nets.versions import check_input_size
from utils.errors import JobError, UserError, disk_failure
from utils.parser import Parser
from utils.streams import (
    accept_any_file_name,
    drop_unwritable_output,
    open_closed_streams,
    print_error,
    silent_stderr,
)

REMEDIES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EFBIG: "raise the limit of the size of files, see ulimit -f, or choose another folder",
    errno.EIO: "check the disk or choose another folder",
    errno.EACCES: "check its permissions or choose another path",
    errno.EPERM: "check its permissions or choose another path",
    errno.EROFS: "choose a folder that can be written",
}
OUT_OF_MEMORY = "error: out of memory, use smaller images or batches"

# Limits of flags. Larger values are mistakes, and would take more memory than machines have or
# overflow 32 bits. The limits are several times what is useful:
MAX_BATCH = 4096  # images at 416x416: 8 GB as float32
MAX_BOXES = 100_000  # YOLOv3 predicts 100,800 boxes at 1280x1280
MAX_CLASSES = 10_000  # YOLO9000 has 9418
MAX_EPOCHS = 100_000  # the predecessors train 300
MAX_RUNS = 100_000  # of a measurement: half an hour at 50 images/s
MAX_THREADS = 1024  # the largest servers have about 500 cores
LARGEST_NUMBER = 1_000_000  # a learning rate, a width, or minutes: almost two years

INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
SIZE = re.compile(r"([0-9]{1,9})(?:x([0-9]{1,9}))?")
SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
LONGEST_SHOWN = 30  # characters of a wrong value


def parse_size(text: str) -> tuple[int, int]:
    """Parses an input size, `416` or `416x320` (height x width), into (height, width).

    Raises:
        UserError: The text has another form, or a side is not a positive multiple of 32 or exceeds
            4096.
    """
    match = SIZE.fullmatch(text.lower())
    if not match:
        raise UserError(
            f"input size {_shown(text)} is neither N nor HxW, use 416 or 416x320 for example"
        )
    height, width = int(match[1]), int(match[2] or match[1])
    try:
        check_input_size((height, width))
    except ValueError as error:
        raise UserError(str(error)) from error
    return height, width


def fraction(text: str) -> float:
    """Parses a number from 0 to 1, as the `type` of a flag."""
    value = _number(text)
    if value is None or not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{_shown(text)} is not a number from 0 to 1")
    return value


def above_zero(text: str) -> float:
    """Parses a number greater than 0 and up to a million, as the `type` of a flag."""
    value = _number(text)
    if value is None or not 0 < value <= LARGEST_NUMBER:
        raise argparse.ArgumentTypeError(
            f"{_shown(text)} is not a number greater than 0 and up to {LARGEST_NUMBER:,}"
        )
    return value


def zero_or_more(text: str) -> float:
    """Parses a number from 0 to a million, as the `type` of a flag."""
    value = _number(text)
    if value is None or not 0 <= value <= LARGEST_NUMBER:
        raise argparse.ArgumentTypeError(
            f"{_shown(text)} is not a number from 0 to {LARGEST_NUMBER:,}"
        )
    return value


def integer(least: int, most: int) -> Callable[[str], int]:
    """Returns the `type` of a flag that is an integer from `least` to `most`."""

    def parse(text: str) -> int:
        value = int(text) if INTEGER.fullmatch(text) else None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"{_shown(text)} is not an integer from {least} to {most:,}"
            )
        return value

    return parse


def shard(text: str) -> tuple[int, int]:
    """Parses `I/N`, the I-th of N parts, as the `type` of a flag."""
    match = SHARD.fullmatch(text)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(
            f"{_shown(text)} is not I/N with I from 1 to N, use 1/4 for example"
        )
    return number, count


def at_most(limit: int) -> Callable[[str], int]:
    """Returns the `type` of a flag that is an integer from 1 to `limit`."""
    return integer(1, limit)


positive = at_most(2**31 - 1)  # TensorFlow stores sizes in 32 bits
seed = integer(0, 2**32 - 1)


def _number(text: str) -> float | None:
    """Parses a finite decimal number; None if the text is none."""
    # `float` would also accept `1_000`, `nan` and the digits of other scripts.
    value = float(text) if NUMBER.fullmatch(text) else math.inf
    return value + 0.0 if math.isfinite(value) else None  # -0.0 becomes 0.0


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}...")


def run(
    main: Callable[[argparse.Namespace], None],
    parser: Parser,
    argv: Sequence[str] | None = None,
) -> None:
    """Parses the flags, calls `main` with them and turns exceptions into exit codes.

    Exits with 2 on a usage or input error, with 1 if the job fails, also because a disk is full,
    and with 130 on Ctrl-C, each with one line on standard error. With `--debug`, the traceback
    comes before that line. If the reader of the output has exited, as `head` does, it exits with
    1 and prints nothing.

    Args:
        main: The job.
        parser: The flags of the script.
        argv: The command line, by default that of this process.
    """
    open_closed_streams()
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    _configure_libraries()
    if not debug:
        # A hook instead of `except Exception`, so that Python code that calls `run` can catch it.
        sys.excepthook = _print_one_line
    accept_any_file_name()
    try:
        main(parser.parse_args(argv))
        sys.stdout.flush()
    except UserError as error:
        _exit_with(2, f"error: {error}", debug)
    except JobError as error:
        _exit_with(1, f"error: {error}", debug)
    except KeyboardInterrupt:
        _exit_with(130, "interrupted", debug)
    except MemoryError as error:
        _exit_with(1, f"{OUT_OF_MEMORY}: {error}" if str(error) else OUT_OF_MEMORY, debug)
    except BrokenPipeError:
        # The reader, such as `| head`, has exited: there is nothing to report or to flush.
        drop_unwritable_output()
        sys.exit(1)
    except OSError as error:
        if error.errno is None:  # raised by a library, not by the file system
            raise
        code = 1 if disk_failure(error) else 2
        _exit_with(code, f"error: {describe_os_error(error)}", debug)
    except Exception as error:
        # TensorFlow's error, by name since most scripts import TensorFlow late or not at all.
        if type(error).__name__ != "ResourceExhaustedError" or disk_failure(error):
            raise
        _exit_with(1, OUT_OF_MEMORY, debug)


def describe_os_error(error: OSError) -> str:
    """Describes an error of the file system in one line: the path, the error and a remedy."""
    where = error.filename2 or error.filename
    if where is None and disk_failure(error):
        where = "standard output"  # `written_whole` names all others
    remedy = REMEDIES.get(error.errno, "check the path")
    text = f"{os.strerror(error.errno).lower()}, {remedy}"
    return text if where is None else f"{where}: {text}"


def import_tensorflow() -> None:
    """Imports TensorFlow and hides the messages that none of its settings can suppress.

    Raises:
        UserError: It is not installed.
    """
    try:
        with silent_stderr():
            import tensorflow  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise UserError("TensorFlow is not installed: pip install -r requirements.txt") from error


def _configure_libraries() -> None:
    """Limits libraries to error messages; must be called before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    for library in ("PIL", "keras", "torch"):  # they do not name the file; our errors do
        warnings.filterwarnings("ignore", category=UserWarning, module=rf"{library}\.")


def _exit_with(code: int, message: str, debug: bool = False) -> NoReturn:
    if debug:
        with contextlib.suppress(OSError):
            traceback.print_exc()
    print_error(message)
    sys.exit(code)


def _print_one_line(
    kind: type[BaseException], error: BaseException, _: TracebackType | None
) -> None:
    print_error(f"error: {kind.__name__}: {error} (--debug shows the traceback)")
