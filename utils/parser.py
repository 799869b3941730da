"""The parser of the flags that all scripts share."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import IO, NoReturn

from utils.streams import print_error
from utils.text import did_you_mean


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line, with the nearest known flag or value.

    What it returns has one attribute more, `given`: the names of the flags on the command line, in
    their order, also of those that are set to their default.
    """

    def __init__(self, description: str, **kwargs):
        super().__init__(description=description, allow_abbrev=False, **kwargs)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def parse_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parses like `ArgumentParser`, with two differences.

        An error for an unknown flag names the nearest known one, also if a required flag is
        missing. A positional argument that takes any number of words takes them from between the
        flags, too.
        """
        words = sys.argv[1:] if args is None else list(args)
        with self._without_requirements():  # which argparse would report instead of a typo in them
            _, unknown = self.parse_known_args(words)
        for word in unknown:
            if word.startswith("-") and word.strip("-"):
                flag = word.split("=")[0]
                near = did_you_mean(flag, self._option_string_actions)
                self.error(f"unknown flag {flag}, {near}")
        parsed, rest = self.parse_known_args(words, namespace)
        rest = [word for word in rest if word != "--"]
        open_ended = [each for each in self._get_positional_actions() if each.nargs == "*"]
        if rest and open_ended:
            name = open_ended[0].dest
            setattr(parsed, name, [*getattr(parsed, name), *rest])
        elif rest:
            self.error(f"unexpected argument {rest[0]!r}, see {self.prog} --help")
        parsed.given = self._given(words)
        return parsed

    @contextlib.contextmanager
    def _without_requirements(self) -> Iterator[None]:
        """Makes all arguments optional inside a `with` block."""
        everything = (*self._actions, *self._mutually_exclusive_groups)
        required = [each for each in everything if each.required]
        for each in required:
            each.required = False
        try:
            yield
        finally:
            for each in required:
                each.required = True

    def _given(self, words: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of the flags in a command line. A value never looks like a flag."""
        flags = (word.split("=")[0] for word in words)
        actions = map(self._option_string_actions.get, takewhile(lambda flag: flag != "--", flags))
        return tuple(dict.fromkeys(action.dest for action in actions if action))

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            near = did_you_mean(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"unknown value {value!r}, {near}")

    def error(self, message: str) -> NoReturn:
        """Prints one line on standard error and exits with code 2."""
        print_error(f"error: {message}")
        sys.exit(2)

    def print_help(self, file: IO[str] | None = None) -> None:
        """Prints the help; unlike argparse, it does not ignore that it cannot be written."""
        print(self.format_help(), end="", file=file, flush=True)
