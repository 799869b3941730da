"""Darknet's .cfg files: sections of options, one a layer, in the order of the layers."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from utils.cli import did_you_mean
from utils.errors import UserError

T = TypeVar("T", int, float)

# Options that say what a layer computes. More may stand in the sections that say how it is trained.
LAYERS = {
    "convolutional": ("batch_normalize", "filters", "size", "stride", "pad", "activation"),
    "maxpool": ("size", "stride"),
    "upsample": ("stride",),
    "shortcut": ("from", "activation"),
    "route": ("layers", "groups", "group_id"),
}
TRAINS = ("net", "yolo")
TRAINS_ONLY = ("stopbackward",)


@dataclass(frozen=True)
class Section:
    """One section of a file.

    Attributes:
        kind: its heading, without brackets.
        options: by name, as written.
        where: file and line, for messages.
    """

    kind: str
    options: dict[str, str]
    where: str = ""

    def text(self, name: str, default: str | None = None) -> str:
        """An option as it is written.

        Raises:
            UserError: it is not there and has no default.
        """
        value = self.options.get(name, default)
        if value is None:
            raise UserError(f"{self.where}: [{self.kind}] lacks {name}, get the file again")
        return value

    def numbers(self, name: str, default: str | None = None) -> list[float]:
        """The numbers of an option, which commas part: at least one, all finite.

        Raises:
            UserError: they are not there, or no numbers.
        """
        text = self.text(name, default)
        try:
            numbers = [float(word) for word in text.split(",") if word.strip()]
        except ValueError:
            numbers = []
        if not numbers or not all(map(math.isfinite, numbers)):
            raise UserError(f"{self.where}: {name}={text} is no number, correct it")
        return numbers

    def whole_numbers(self, name: str, default: str | None = None) -> list[int]:
        """As `numbers`, but whole ones."""
        numbers = self.numbers(name, default)
        if not all(map(float.is_integer, numbers)):
            raise UserError(
                f"{self.where}: {name}={self.text(name)} is no whole number, correct it"
            )
        return [int(number) for number in numbers]

    def number(self, name: str, default: str | None = None) -> float:
        """One number."""
        return self._one(name, self.numbers(name, default))

    def whole(self, name: str, default: str | None = None, least: float = 0) -> int:
        """One whole number of at least `least`."""
        number = self._one(name, self.whole_numbers(name, default))
        if number < least:
            raise UserError(f"{self.where}: {name}={number} is less than {least}, correct it")
        return number

    def _one(self, name: str, numbers: list[T]) -> T:
        if len(numbers) != 1:
            raise UserError(f"{self.where}: {name}={self.text(name)} is not one number, correct it")
        return numbers[0]


def read_cfg(path: Path) -> list[Section]:
    """Reads a file, whose first section is [net], or [network], which becomes it.

    Raises:
        UserError: it is missing or no such file, or has a layer or an option that is not known.
    """
    try:
        # Comments may be in any encoding; what counts is ASCII.
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
            raise UserError(f"{where}: {line[:40]!r} is no option=value, name a .cfg of Darknet")
        elif line:
            name, _, value = line.partition("=")
            sections[-1].options[name.strip()] = value.strip()
    if not sections or sections[0].kind != "net":
        raise UserError(f"{path} does not begin with [net], name a .cfg of Darknet")
    for section in sections:
        _check(section)
    return sections


def _check(section: Section) -> None:
    if section.kind in TRAINS:
        return
    known = LAYERS.get(section.kind)
    if known is None:
        raise UserError(
            f"{section.where}: layers [{section.kind}] are not known here, "
            "see the README for the networks that are"
        )
    for name in section.options:
        if name not in known + TRAINS_ONLY:
            raise UserError(
                f"{section.where}: unknown option {name!r} of [{section.kind}], "
                f"{did_you_mean(name, known)}"
            )


def format_cfg(sections: list[Section]) -> str:
    """The text of a file with these sections."""
    return "\n".join(
        f"[{section.kind}]\n"
        + "".join(f"{name}={value}\n" for name, value in section.options.items())
        for section in sections
    )
