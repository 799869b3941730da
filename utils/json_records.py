"""Reads frozen dataclasses from JSON, with errors that name the place."""

import dataclasses
import json
import reprlib
import sys
import types
import typing
from pathlib import Path
from typing import Any, Literal

from utils.errors import UserError
from utils.regular_files import check_regular
from utils.text import did_you_mean

WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    types.NoneType: "null",
}


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Reads a JSON object from a file.

    Args:
        path: The file.
        remedy: End of the error message: what to do if the file is damaged.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is damaged, or not a regular file.
    """
    check_regular(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged ({error}), {remedy}") from error
    return parse_json(text, str(path), remedy)


def parse_json(text: str, where: str, remedy: str) -> dict[str, Any]:
    """Parses a JSON object.

    Args:
        text: The object as text.
        where: Where the text was found, for error messages.
        remedy: End of the error message: what to do if the text is damaged.

    Raises:
        UserError: The text is no JSON object, or is nested too deeply.
    """
    try:
        document = json.loads(text)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where} is damaged ({error}), {remedy}") from error
    except RecursionError as error:
        raise UserError(f"{where} is damaged (nested too deeply), {remedy}") from error
    if not isinstance(document, dict):
        raise UserError(f"{where} is damaged (not a JSON object), {remedy}")
    return document


def from_json(kind: Any, value: Any, where: str) -> Any:
    """Builds a frozen dataclass, or one of its fields, from a parsed JSON value.

    Args:
        kind: A dataclass, or the annotation of a field.
        value: What `json.loads` returned for it.
        where: File and keys, for error messages.

    Raises:
        UserError: A key is unknown or missing, or a value does not fit its field or is not finite.
    """
    if not dataclasses.is_dataclass(kind):
        return _field_from_json(kind, value, where)
    if not isinstance(value, dict):
        raise UserError(f"{where} is {reprlib.repr(value)}, it must be {_describe(kind)}")
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            raise UserError(f"unknown key {key!r} in {where}, {did_you_mean(key, hints)}")
    for entry in dataclasses.fields(kind):
        required = entry.default is entry.default_factory is dataclasses.MISSING
        if required and entry.name not in value:
            raise UserError(f"{where} lacks {entry.name!r}, restore it or train again")
    fields = {key: from_json(hints[key], item, f"{where}: {key}") for key, item in value.items()}
    try:
        return kind(**fields)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _field_from_json(kind: Any, value: Any, where: str) -> Any:
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType and isinstance(value, list | dict):
        (kind,) = (choice for choice in choices if choice is not types.NoneType)
        return from_json(kind, value, where)
    if origin is tuple and isinstance(value, list):
        if choices[-1] is Ellipsis:
            choices = choices[:1] * len(value)
        if len(value) != len(choices):
            raise UserError(f"{where} has {len(value)} numbers, it must have {len(choices)}")
        pairs = zip(choices, value, strict=True)
        return tuple(_field_from_json(choice, item, where) for choice, item in pairs)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise UserError(f"{where} is {reprlib.repr(value)}; {_choose(choices, value)}")
        return value
    options = choices if origin in (types.UnionType, typing.Union) else (kind,)
    is_number = float in options and isinstance(value, int) and not isinstance(value, bool)
    if not is_number and all(type(value) is not option for option in options):
        wanted = " or ".join(map(_describe, options))
        raise UserError(f"{where} is {reprlib.repr(value)}, it must be {wanted}")
    # Python reads NaN, Infinity and integers of any size, which JSON does not have or limit.
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        raise UserError(f"{where} is {reprlib.repr(value)}, it must be a finite number")
    return value


def _choose(choices: tuple, value: Any) -> str:
    hint = f"{did_you_mean(value, map(str, choices))} " if isinstance(value, str) else ""
    return f"{hint}choose one of {', '.join(map(str, choices))}"


def _describe(kind: Any) -> str:
    """Describes the values of a field in the words of JSON."""
    if typing.get_origin(kind) is tuple:
        return "a list"
    return WORDS.get(kind) or f"a {kind.__name__} object"
