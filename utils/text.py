"""Formats text: suggestions, lists, file names and tables."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

# Most file systems allow 255 bytes, of which numbers, suffixes and prefixes need some.
MAX_FILE_NAME = 100  # characters
MAX_FILE_NAME_BYTES = 180
MAX_LINE = 1000  # characters of a message, of which most are from the input
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
FORBIDDEN_IN_FILE_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]')


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns the end of an error message about an unknown word: a suggestion of a known one."""
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0)[0]
    return f"did you mean {nearest}?"


def counted(count: int, noun: str) -> str:
    """Returns a number with a noun whose plural ends in s: `1 image`, `2 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def first_few(names: Iterable[str], limit: int = 5) -> str:
    """Joins the first names in alphabetical order, and says how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def join_words(text: str) -> str:
    """Joins the words of a text by single spaces, so that it fits a line of a file.

    A byte order mark counts as a space: readers of text files drop it at the beginning.
    """
    return " ".join(text.replace("\ufeff", " ").split())


def printable(text: str) -> str:
    """Escapes the characters of a file name that UTF-8 or XML cannot represent, or that end a line.

    These are control characters, and bytes that are not UTF-8, which Python stores as surrogates.
    """
    text = CONTROL_CHARACTERS.sub(lambda each: each[0].encode("unicode_escape").decode(), text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """Turns a message into one line that a terminal can print, whatever input it quotes.

    Spaces are joined, control characters are escaped, and long messages are cut in the middle,
    since their end says what to do.
    """
    line = printable(" ".join(text.split()))
    half = MAX_LINE // 2
    return line if len(line) <= MAX_LINE else f"{line[:half]} ... {line[-half:]}"


def clean_file_name(text: str) -> str:
    """Turns a text into a file name without suffix that is valid on every file system."""
    name = FORBIDDEN_IN_FILE_NAMES.sub("_", text)[:MAX_FILE_NAME]
    return cut_to_bytes(name, MAX_FILE_NAME_BYTES) or "_"


def cut_to_bytes(text: str, limit: int) -> str:
    """Cuts a text to whole characters of at most `limit` bytes of UTF-8."""
    while len(text.encode("utf-8", "surrogatepass")) > limit:
        text = text[:-1]
    return text


def unique_file_names(texts: Iterable[str]) -> list[str]:
    """Makes one file name without suffix per text. They differ even if case is ignored."""
    names, taken = [], set()
    for text in texts:
        plain = name = clean_file_name(text)
        copy = 1
        while name.casefold() in taken:
            copy += 1
            name = f"{plain}_{copy}"
        taken.add(name.casefold())
        names.append(name)
    return names


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows as lines: the first column is aligned left, the others right."""
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    lines = (
        row[0]
        + " " * (widths[0] - _columns(row[0]))
        + "".join(
            "  " + " " * (width - _columns(cell)) + cell
            for cell, width in zip(row[1:], widths[1:], strict=True)
        )
        for row in rows
    )
    return "".join(line.rstrip() + "\n" for line in lines)


def _columns(text: str) -> int:
    """Width of a text in a terminal, in which a Chinese character takes two columns."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
