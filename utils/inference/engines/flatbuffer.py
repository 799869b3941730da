"""Reads single fields of a flatbuffer, such as a LiteRT model, without its schema.

See https://flatbuffers.dev/internals: a table is found by an offset, and holds an offset to its
vtable, which holds the offsets of its fields. All numbers are little-endian.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

Data = bytes | mmap.mmap


class DamagedError(ValueError):
    """An offset points outside of the flatbuffer."""


@dataclass(frozen=True)
class Table:
    """A table in a flatbuffer.

    Attributes:
        data: The flatbuffer.
        position: Where the table starts.
    """

    data: Data
    position: int

    @classmethod
    def root(cls, data: Data) -> "Table":
        """Returns the first table.

        Raises:
            DamagedError: The flatbuffer is damaged; as in all methods.
        """
        return cls(data, _number("<I", data, 0))

    def unsigned(self, field: int) -> int:
        """Reads a field of 32 bits; 0 if the table does not have it."""
        position = self._field(field)
        return 0 if position is None else _number("<I", self.data, position)

    def bytes(self, field: int) -> bytes:
        """Reads a string, or a vector of bytes; empty if the table does not have it."""
        start, length = self._vector(field)
        if start + length > len(self.data):
            raise DamagedError
        return bytes(self.data[start : start + length])

    def text(self, field: int, longest: int) -> str:
        """Reads a string of at most `longest` bytes; empty if it is longer or does not exist."""
        return self.bytes(field).decode() if self._vector(field)[1] <= longest else ""

    def table(self, field: int, index: int) -> "Table":
        """Reads one of a vector of tables."""
        start, length = self._vector(field)
        if index >= length:
            raise DamagedError
        position = start + 4 * index
        return Table(self.data, position + _number("<I", self.data, position))

    def tables(self, field: int) -> Iterator["Table"]:
        """Reads a vector of tables; empty if the table does not have it."""
        start, length = self._vector(field)
        for position in range(start, start + 4 * length, 4):
            yield Table(self.data, position + _number("<I", self.data, position))

    def _vector(self, field: int) -> tuple[int, int]:
        """Returns where the items of a vector start, and their number."""
        position = self._field(field)
        if position is None:
            return 0, 0
        start = position + _number("<I", self.data, position)
        return start + 4, _number("<I", self.data, start)

    def _field(self, field: int) -> int | None:
        """Returns where a field is, by its index in the schema."""
        vtable = self.position - _number("<i", self.data, self.position)
        entry = 4 + 2 * field
        if entry >= _number("<H", self.data, vtable):
            return None
        offset = _number("<H", self.data, vtable + entry)
        return self.position + offset if offset else None


def _number(kind: str, data: Data, position: int) -> int:
    if not 0 <= position <= len(data) - struct.calcsize(kind):
        raise DamagedError
    return struct.unpack_from(kind, data, position)[0]
