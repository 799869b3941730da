"""Splits multipart bodies, in memory: nothing is written to a disk."""

from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from utils.serving.refusals import Refusal, bad_request
from utils.serving.settings import MAX_IMAGES
from utils.text import did_you_mean, printable

FIELD = "images"
LONGEST_NAME = 100  # characters


@dataclass(frozen=True, eq=False)
class Upload:
    """An image file of a request.

    Attributes:
        name: Its name, without control characters.
        data: The file.
    """

    name: str
    data: bytes


def split_multipart(body: bytes, content_type: str) -> list[Upload]:
    """Returns the files in the fields `images` of a body.

    Args:
        body: The body.
        content_type: Its Content-Type, with the boundary.

    Raises:
        Refusal: The body is damaged, has another field, no image, or too many.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise bad_request("the Content-Type multipart/form-data has no boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise bad_request("the multipart body is damaged") from error
    if not parts.is_complete:
        raise bad_request("the multipart body is truncated")
    if not parts.uploads:
        raise bad_request(f"the request has no image, send files in the field {FIELD!r}")
    return parts.uploads


class _Parts:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.uploads: list[Upload] = []
        self.is_complete = False
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._data: list[bytes] = []

    def callbacks(self) -> dict:
        """Returns the callbacks of the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        self._headers, self._data = {}, []

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _end(self) -> None:
        options = parse_options_header(self._headers.get(b"content-disposition", b""))[1]
        field = _text(options.get(b"name", b""))
        if field != FIELD:
            raise bad_request(f"unknown field {field!r}, {did_you_mean(field, [FIELD])}")
        if len(self.uploads) == MAX_IMAGES:
            raise Refusal(
                413, "too_large", f"a request may have {MAX_IMAGES} images, split it into several"
            )
        name = _text(options.get(b"filename", b"")) or f"{FIELD}[{len(self.uploads)}]"
        self.uploads.append(Upload(name, b"".join(self._data)))

    def _complete(self) -> None:
        self.is_complete = True


def _text(data: bytes) -> str:
    return printable(data.decode("utf-8", "backslashreplace"))[:LONGEST_NAME]
