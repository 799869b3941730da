"""What every script at the top does alike: its flags, its errors and its exit codes."""

import argparse
import difflib
import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from utils.errors import JobError, UserError

STRIDE = 32  # the coarsest feature map's stride: both sides of an input are multiples of it

REMEDIES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EACCES: "check its permissions or choose another path",
    errno.EPERM: "check its permissions or choose another path",
    errno.EROFS: "choose a folder that can be written",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ends an error message about an unknown word by naming the nearest known one."""
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0)[0]
    return f"did you mean {nearest}?"


def parse_size(text: str) -> tuple[int, int]:
    """Reads an input size, `416` or `416x320` (height x width), as (height, width).

    Raises:
        UserError: a side is not a positive multiple of 32.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise UserError(f"input size {text!r} is neither N nor HxW, use for example 416 or 416x320")
    height, width = int(sides[0]), int(sides[-1])
    for side in (height, width):
        if side == 0 or side % STRIDE:
            below = side // STRIDE * STRIDE
            nearest = " or ".join(str(n) for n in (below, below + STRIDE) if n)
            raise UserError(f"input size {text}: {side} is not a multiple of 32, use {nearest}")
    return height, width


def fraction(text: str) -> float:
    """The `type` of a flag that takes a number from 0 to 1."""
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive(text: str) -> int:
    """The `type` of a flag that takes a whole number from 1 on."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def seed(text: str) -> int:
    """The `type` of a flag that takes a seed: a whole number that fits into 32 bits."""
    if not 0 <= (value := int(text)) < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not within 0..{2**32 - 1}")
    return value


def above_zero(text: str) -> float:
    """The `type` of a flag that takes any number greater than 0."""
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that names the nearest known word."""

    def __init__(self, description: str, **kwargs):
        super().__init__(description=description, allow_abbrev=False, **kwargs)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def parse_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parses as argparse does, but an unknown flag names the nearest known one."""
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
        """Prints one line and exits with 2."""
        self.exit(2, f"error: {message}\n")


def run(
    main: Callable[[argparse.Namespace], None],
    parser: Parser,
    argv: Sequence[str] | None = None,
) -> None:
    """Parses the flags, calls `main` with them and turns what goes wrong into an exit code.

    Exits with 2 on a usage or input error, 1 when the job fails and 130 on Ctrl-C, each with one
    line on standard error; the traceback comes before it with `--debug` only.
    """
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    _quieten_libraries()
    if not debug:
        # A hook, not an `except Exception`: whoever calls `run` from Python gets the exception.
        sys.excepthook = _print_one_line
    # Names of files need not be UTF-8: Python keeps their bytes as lone surrogates.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main(parser.parse_args(argv))
        sys.stdout.flush()
    except UserError as error:
        _leave(2, f"error: {error}", debug)
    except JobError as error:
        _leave(1, f"error: {error}", debug)
    except KeyboardInterrupt:
        _leave(130, "interrupted", debug)
    except BrokenPipeError:
        # The reader (`| head`) has gone: nothing to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno is None:  # a library's own failure, not the file system's answer
            raise
        _leave(2, f"error: {explained(error)}", debug)


def explained(error: OSError) -> str:
    """What the file system refused, where, and what to do."""
    where = error.filename2 or error.filename or "a file"
    remedy = REMEDIES.get(error.errno, "check the path")
    return f"{where}: {os.strerror(error.errno).lower()}, {remedy}"


def import_tensorflow() -> None:
    """Imports TensorFlow without the notes on its start that no setting of its own holds back."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _quieten_libraries() -> None:
    """Asks TensorFlow and absl for errors only; to be called before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever ~/.keras/keras.json says
    logging.getLogger("absl").setLevel(logging.ERROR)


def _leave(code: int, message: str, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def _print_one_line(
    kind: type[BaseException], error: BaseException, _: TracebackType | None
) -> None:
    message = " ".join(f"{kind.__name__}: {error}".split())
    print(f"error: {message} (--debug shows the traceback)", file=sys.stderr)
