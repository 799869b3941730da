"""Reads the body of a request within the limits of size, memory and time."""

import asyncio
import contextlib
import zlib
from collections.abc import Iterator

from starlette.requests import Request

from utils.serving.refusals import Refusal, bad_request, too_late

# RFC 9110 and tritonclient call the zlib format `deflate`.
ENCODINGS = ("gzip", "x-gzip", "deflate")
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Memory:
    """Counts the bytes of all bodies that are received or waiting.

    Args:
        most: Maximum number of bytes.
    """

    def __init__(self, most: int):
        self._most = most
        self._held = 0

    @contextlib.contextmanager
    def share(self) -> Iterator["Share"]:
        """Returns the share of one request, which is given back at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self._held -= share.held

    def hold(self, count: int) -> None:
        """Adds bytes.

        Raises:
            Refusal: There would be too many.
        """
        if self._held + count > self._most:
            raise Refusal(503, "memory_full", "too many large requests at once, try again later", 1)
        self._held += count


class Share:
    """The bytes of one request.

    Attributes:
        held: Their number.
    """

    def __init__(self, memory: Memory):
        self._memory = memory
        self.held = 0

    def hold(self, count: int) -> None:
        """Adds bytes, see `Memory.hold`."""
        self._memory.hold(count)
        self.held += count


async def read_body(request: Request, most: int, share: Share, deadline: float) -> bytes:
    """Reads a body, and inflates it if it is compressed.

    Args:
        request: The request.
        most: Maximum number of bytes, received and inflated.
        share: Counts the bytes.
        deadline: Time of the event loop at which the body must be complete.

    Raises:
        Refusal: The body is too large, late, damaged, or has an encoding that is not supported.
        ClientDisconnect: The client has vanished.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", *ENCODINGS):
        raise Refusal(
            415, "media_type", f"Content-Encoding {encoding[:30]!r} is not supported, use gzip"
        )
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:  # h11 has checked its length
        raise _too_large(most)
    parts = _Inflated(most) if encoding in ENCODINGS else _Plain(most)
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in request.stream():
                share.hold(parts.add(chunk))
    except TimeoutError as error:
        raise too_late() from error
    return parts.joined()


class _Plain:
    """Collects the parts of a body."""

    def __init__(self, most: int):
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> int:
        """Adds a part and returns its size."""
        self._size += len(chunk)
        if self._size > self._most:
            raise _too_large(self._most)
        self._parts.append(chunk)
        return len(chunk)

    def joined(self) -> bytes:
        """Returns the body."""
        return b"".join(self._parts)


class _Inflated:
    """Collects the parts of a compressed body."""

    def __init__(self, most: int):
        self._plain = _Plain(most)
        self._left = most
        self._inflate = zlib.decompressobj(GZIP_OR_ZLIB)

    def add(self, chunk: bytes) -> int:
        """Inflates a part and returns its size; a bomb is noticed one byte above the limit."""
        try:
            inflated = self._inflate.decompress(chunk, self._left + 1)
        except zlib.error as error:
            raise bad_request("the body is not valid gzip") from error
        if self._inflate.unused_data:
            raise bad_request("the compressed body is followed by other data")
        self._left -= len(inflated)
        return self._plain.add(inflated)

    def joined(self) -> bytes:
        """Returns the inflated body."""
        if not self._inflate.eof:
            raise bad_request("the compressed body is truncated")
        return self._plain.joined()


def _too_large(most: int) -> Refusal:
    return Refusal(
        413, "too_large", f"the body has more than {most:,} bytes, send fewer or smaller images"
    )
