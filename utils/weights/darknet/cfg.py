"""Reads and writes .cfg files of Darknet: one section of options per layer, in order."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from utils.errors import UserError
from utils.regular_files import check_regular
from utils.text import did_you_mean

T = TypeVar("T", int, float)

# Options that determine the output of a layer. Others are errors, except in sections on training.
LAYERS = {
    "convolutional": ("batch_normalize", "filters", "size", "stride", "pad", "activation"),
    "maxpool": ("size", "stride"),
    "upsample": ("stride",),
    "shortcut": ("from", "activation"),
    "route": ("layers", "groups", "group_id"),
}
TRAINING_SECTIONS = ("net", "yolo")
TRAINING_OPTIONS = ("stopbackward",)


@dataclass(frozen=True)
class Section:
    """One section of a file.

    Attributes:
        kind: Its heading, without brackets.
        options: Text of its options, by name.
        where: File and line, for error messages.
    """

    kind: str
    options: dict[str, str]
    where: str = ""

    def text(self, name: str, default: str | None = None) -> str:
        """Returns the text of an option.

        Args:
            name: Name of the option.
            default: Text used if the option is missing; None if it must not be.

        Raises:
            UserError: The option is missing and has no default.
        """
        value = self.options.get(name, default)
        if value is None:
            raise UserError(f"{self.where}: [{self.kind}] lacks {name}, get the file again")
        return value

    def numbers(self, name: str, default: str | None = None) -> list[float]:
        """Returns the comma-separated numbers of an option, at least one.

        Raises:
            UserError: The option is missing, or something in it is not a finite number.
        """
        text = self.text(name, default)
        try:
            numbers = [float(word) for word in text.split(",") if word.strip()]
        except ValueError:
            numbers = []
        if not numbers or not all(map(math.isfinite, numbers)):
            raise UserError(f"{self.where}: {name}={text} is not a number, correct it")
        return numbers

    def whole_numbers(self, name: str, default: str | None = None) -> list[int]:
        """Returns the comma-separated whole numbers of an option, at least one."""
        numbers = self.numbers(name, default)
        if not all(map(float.is_integer, numbers)):
            raise UserError(
                f"{self.where}: {name}={self.text(name)} is not a whole number, correct it"
            )
        return [int(number) for number in numbers]

    def number(self, name: str, default: str | None = None) -> float:
        """Returns the only number of an option."""
        return self._one(name, self.numbers(name, default))

    def whole(self, name: str, default: str | None = None, least: float = 0) -> int:
        """Returns the only number of an option, a whole one of at least `least`."""
        number = self._one(name, self.whole_numbers(name, default))
        if number < least:
            raise UserError(f"{self.where}: {name}={number} is less than {least}, correct it")
        return number

    def _one(self, name: str, numbers: list[T]) -> T:
        if len(numbers) != 1:
            raise UserError(f"{self.where}: {name}={self.text(name)} is not one number, correct it")
        return numbers[0]


def read_cfg(path: Path) -> list[Section]:
    """Reads a .cfg.

    Returns:
        Its sections. The first one is [net], even if the file calls it [network].

    Raises:
        UserError: The file is missing or not a .cfg, or has an unknown layer or option.
    """
    try:
        check_regular(path)
        # Comments may be in any encoding; everything else is ASCII.
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"no file {path}, name the .cfg of the weights") from error
    sections: list[Section] = []
    for number, line in enumerate(lines, start=1):
        line = "" if line.startswith(";") else line.split("#")[0].strip()
        where = f"{path}, line {number}"
        if line.startswith("[") and line.endswith("]"):
            kind = line[1:-1].strip()
            sections.append(Section("net" if kind == "network" else kind, {}, where))
        elif line and not (sections and "=" in line):
            raise UserError(f"{where}: {line[:40]!r} is not option=value, name a .cfg of Darknet")
        elif line:
            name, _, value = line.partition("=")
            sections[-1].options[name.strip()] = value.strip()
    if not sections or sections[0].kind != "net":
        raise UserError(f"{path} does not begin with [net], name a .cfg of Darknet")
    for section in sections:
        _check(section)
    if again := [section for section in sections[1:] if section.kind == "net"]:
        raise UserError(f"{again[0].where}: a second [net], remove it")
    return sections


def _check(section: Section) -> None:
    if section.kind in TRAINING_SECTIONS:
        return
    known = LAYERS.get(section.kind)
    if known is None:
        raise UserError(
            f"{section.where}: layers [{section.kind}] are not supported, "
            "see the README for the networks that are"
        )
    for name in section.options:
        if name not in known + TRAINING_OPTIONS:
            raise UserError(
                f"{section.where}: unknown option {name!r} of [{section.kind}], "
                f"{did_you_mean(name, known)}"
            )


def format_cfg(sections: list[Section]) -> str:
    """Returns the text of a .cfg with these sections."""
    return "\n".join(
        f"[{section.kind}]\n"
        + "".join(f"{name}={value}\n" for name, value in section.options.items())
        for section in sections
    )
