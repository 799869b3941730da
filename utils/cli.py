"""The command-line interface that all scripts share: flags, error messages and exit codes."""

import argparse
import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from nets.versions import check_input_size
from utils.errors import JobError, UserError
from utils.text import did_you_mean

REMEDIES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EACCES: "check its permissions or choose another path",
    errno.EPERM: "check its permissions or choose another path",
    errno.EROFS: "choose a folder that can be written",
}


def parse_size(text: str) -> tuple[int, int]:
    """Parses an input size, `416` or `416x320` (height x width), into (height, width).

    Raises:
        UserError: The text has another form, or a side is not a positive multiple of 32 or exceeds
            4096.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise UserError(f"input size {text!r} is neither N nor HxW, use 416 or 416x320 for example")
    height, width = int(sides[0]), int(sides[-1])
    try:
        check_input_size((height, width))
    except ValueError as error:
        raise UserError(str(error)) from error
    return height, width


def fraction(text: str) -> float:
    """Parses a number from 0 to 1, as the `type` of a flag."""
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive(text: str) -> int:
    """Parses a positive integer, as the `type` of a flag."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def seed(text: str) -> int:
    """Parses a seed, an unsigned integer of 32 bits, as the `type` of a flag."""
    if not 0 <= (value := int(text)) < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not within 0..{2**32 - 1}")
    return value


def above_zero(text: str) -> float:
    """Parses a finite number greater than 0, as the `type` of a flag."""
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
    return value


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line, with the nearest known flag or value."""

    def __init__(self, description: str, **kwargs):
        super().__init__(description=description, allow_abbrev=False, **kwargs)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def parse_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parses like `ArgumentParser`, but suggests the nearest known flag for an unknown one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].split("=")[0]
            if flag.startswith("-"):
                self.error(
                    f"unknown flag {flag}, {did_you_mean(flag, self._option_string_actions)}"
                )
            self.error(f"unexpected argument {flag!r}, see {self.prog} --help")
        return parsed

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            near = did_you_mean(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"unknown value {value!r}, {near}")

    def error(self, message: str) -> NoReturn:
        """Prints one line on standard error and exits with code 2."""
        self.exit(2, f"error: {message}\n")


def run(
    main: Callable[[argparse.Namespace], None],
    parser: Parser,
    argv: Sequence[str] | None = None,
) -> None:
    """Parses the flags, calls `main` with them and turns exceptions into exit codes.

    Exits with 2 on a usage or input error, with 1 if the job fails and with 130 on Ctrl-C, each
    with one line on standard error. With `--debug`, the traceback comes before that line.

    Args:
        main: The job.
        parser: The flags of the script.
        argv: The command line, by default that of this process.
    """
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    _configure_libraries()
    if not debug:
        # A hook instead of `except Exception`, so that Python code that calls `run` can catch it.
        sys.excepthook = _print_one_line
    # File names need not be UTF-8; Python represents other bytes as lone surrogates.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main(parser.parse_args(argv))
        sys.stdout.flush()
    except UserError as error:
        _exit_with(2, f"error: {error}", debug)
    except JobError as error:
        _exit_with(1, f"error: {error}", debug)
    except KeyboardInterrupt:
        _exit_with(130, "interrupted", debug)
    except BrokenPipeError:
        # The reader, such as `| head`, has exited: there is nothing to report or to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno is None:  # raised by a library, not by the file system
            raise
        _exit_with(2, f"error: {describe_os_error(error)}", debug)


def describe_os_error(error: OSError) -> str:
    """Describes an error of the file system in one line: the path, the error and a remedy."""
    where = error.filename2 or error.filename or "a file"
    remedy = REMEDIES.get(error.errno, "check the path")
    return f"{where}: {os.strerror(error.errno).lower()}, {remedy}"


def import_tensorflow() -> None:
    """Imports TensorFlow and hides the messages that none of its settings can suppress."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _configure_libraries() -> None:
    """Limits TensorFlow and absl to error messages; must be called before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)


def _exit_with(code: int, message: str, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def _print_one_line(
    kind: type[BaseException], error: BaseException, _: TracebackType | None
) -> None:
    message = " ".join(f"{kind.__name__}: {error}".split())
    print(f"error: {message} (--debug shows the traceback)", file=sys.stderr)
