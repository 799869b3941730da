"""Reads the metadata of an ONNX file without its weights and without a library.

An ONNX file is one message of Protocol Buffers, `ModelProto` of onnx.proto: a sequence of fields,
each with a number, a type and a value. The graph, which has the weights, is skipped.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from utils.errors import UserError
from utils.inference.metadata import ENTRY
from utils.regular_files import check_regular

# Numbers of the fields, from onnx.proto.
GRAPH = 7
PROPERTY = 14
KEY, VALUE = 1, 2  # of a property
LAST_FIELD = 26  # later ones do not exist, so the file is something else

START = b"\x08"  # number and type of the version, which is the first field

# Types of fields: https://protobuf.dev/programming-guides/encoding
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LENGTHS = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT = 10  # bytes
MOST_FIELDS = 100_000  # of a message; opset, functions and properties are at most hundreds
LONGEST_PROPERTY = 2**24  # bytes; metadata of thousands of classes is far shorter


class _NotOnnxError(Exception):
    """The bytes are not an ONNX model."""


class _TruncatedError(Exception):
    """The file ends within a field."""


def read_text(path: Path) -> str | None:
    """Reads the metadata document of an ONNX file.

    Returns:
        The document; None if the file has none.

    Raises:
        UserError: The file is truncated or no ONNX file.
    """
    check_regular(path)
    text, has_graph = None, False
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not file.read(1).startswith(START):
                raise _NotOnnxError
            file.seek(0)
            for number, length in _fields(file, size, LAST_FIELD):
                has_graph |= number == GRAPH
                if number == PROPERTY and length <= LONGEST_PROPERTY:
                    entry = _strings(file, file.tell() + length)
                    text = entry.get(VALUE) if entry.get(KEY) == ENTRY else text
    except _TruncatedError as error:
        raise UserError(f"{path} is truncated, copy it again or export the run again") from error
    except (_NotOnnxError, UnicodeDecodeError):
        has_graph = False
    if not has_graph:
        raise UserError(f"{path} is no ONNX file, use a file of export.py")
    return text


def _fields(file: IO[bytes], end: int, last: int) -> Iterator[tuple[int, int]]:
    """Yields number and length of each field of type BYTES; the file is then at its value."""
    for _ in range(MOST_FIELDS):
        if file.tell() >= end:
            return
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number <= last or kind not in (VARINT, FIXED64, BYTES, FIXED32):
            raise _NotOnnxError
        if kind == VARINT:
            _varint(file)
            continue
        length = _varint(file) if kind == BYTES else LENGTHS[kind]
        following = file.tell() + length
        if following > end:
            raise _TruncatedError
        if kind == BYTES:
            yield number, length
        file.seek(following)
    raise _NotOnnxError


def _strings(file: IO[bytes], end: int) -> dict[int, str]:
    """Reads the texts of a property by field number."""
    return {number: file.read(length).decode() for number, length in _fields(file, end, last=VALUE)}


def _varint(file: IO[bytes]) -> int:
    """Reads an integer: seven bits per byte, the lowest first; the last byte is below 128."""
    value = 0
    for index in range(LONGEST_VARINT):
        byte = file.read(1)
        if not byte:
            raise _TruncatedError
        value |= (byte[0] & 127) << 7 * index
        if byte[0] < 128:
            return value
    raise _NotOnnxError
