"""Reads VOC annotation files as they are; `utils.data.objects` finds their faults."""

import codecs
import re
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError, fromstring

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from utils.errors import UserError
from utils.regular_files import read_regular
from utils.text import join_words

ROOT = "annotation"  # the tag of the outermost element
CROWD = "iscrowd"  # a tag of objects that only `convert_dataset.py` writes
MAX_BYTES = 2**25  # of a file; the parser needs up to 25 times as much memory
# What the parser itself decodes: none for Chinese, Japanese or Korean, and not the alias utf8.
PARSED_ENCODINGS = (b"utf-8", b"utf-16", b"utf-16le", b"utf-16be")
# Of Python's encodings, those that take quadratic time. They are for names of hosts.
SLOW_ENCODINGS = ("idna", "punycode")
DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)["']""")
SIDES = ("xmin", "ymin", "xmax", "ymax")


class StatedObject(NamedTuple):
    """An object as it is written in an annotation, usable or not.

    Attributes:
        name: Name of the class; empty if there is none.
        box: xmin, ymin, xmax, ymax; NaN for what is no number.
        difficult: Whether the annotation marks it as difficult.
        crowd: Whether it is a crowd of COCO. VOC has no such mark; `convert_dataset.py` writes it.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    crowd: bool


class Annotation(NamedTuple):
    """The content of an annotation file.

    Attributes:
        size: Height and width of the image as stated; None if they are not.
        objects: The objects in their order.
    """

    size: tuple[float, float] | None
    objects: list[StatedObject]


def parse_xml(path: Path) -> Element:
    """Parses an annotation in the encoding that it declares, and removes XML namespaces.

    Raises:
        UserError: The file is too large, damaged, truncated, not XML, or not an annotation of VOC.
        OSError: The file cannot be read.
    """
    data = read_regular(path, MAX_BYTES)
    is_marked = data.startswith(codecs.BOM_UTF8)
    declared = DECLARED_ENCODING.match(data.removeprefix(codecs.BOM_UTF8))
    try:
        if declared and declared[1].lower() not in PARSED_ENCODINGS:
            encoding = codecs.lookup("utf-8-sig" if is_marked else declared[1].decode()).name
            if encoding in SLOW_ENCODINGS:
                raise LookupError(f"the encoding {encoding} is not supported")
            data = data.decode(encoding)
        root = _parse(data, declared)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise UserError(f"cannot read annotation {path}: {error}; repair or remove it") from error
    if isinstance(data, str) or b"xmlns" in data or b"\0" in data:  # perhaps in UTF-16
        for node in root.iter():
            node.tag = node.tag.rpartition("}")[2]  # {http://example.org/voc}object
    if root.tag != ROOT:
        raise UserError(
            f"cannot read annotation {path}: its root is <{root.tag}>, not <{ROOT}> as in VOC's "
            "format; convert or remove it"
        )
    return root


def class_name(node: Element) -> str:
    """Returns the class name of an `object` element; empty if it has none.

    Spaces are joined: class files have a name per line, so a name must not end one.
    """
    return join_words(node.findtext("name") or "")


def read_annotation(path: Path) -> Annotation:
    """Reads an annotation file without judging its content.

    Raises:
        UserError: The file is damaged, truncated, not XML, or not an annotation of VOC.
        OSError: The file cannot be read.
    """
    root = parse_xml(path)
    height, width = (_number(root, "size", side) for side in ("height", "width"))
    return Annotation(
        (height, width) if height > 0 and width > 0 else None,  # some tools write zeros
        [
            StatedObject(
                class_name(node),
                tuple([_number(node, "bndbox", side) for side in SIDES]),
                _number(node, None, "difficult") == 1,
                _number(node, None, CROWD) == 1,
            )
            for node in root.findall("object")
        ],
    )


def _number(node: Element, parent: str | None, tag: str) -> float:
    """Returns the number in a tag, or in a tag of `parent`; NaN if there is none."""
    # A path, such as bndbox/xmin, is several times as slow. It can find the tag in a second parent.
    text = None
    if parent is None:
        text = node.findtext(tag)
    elif (child := node.find(parent)) is not None:
        text = child.findtext(tag)
        if text is None:
            text = node.findtext(f"{parent}/{tag}")
    try:
        return float("nan" if text is None else text)
    except ValueError:
        return float("nan")


def _parse(data: bytes | str, declared: re.Match[bytes] | None) -> Element:
    """Parses XML that may be hostile.

    Entities need a document type. Without one, the parser in C is safe, and three times as fast as
    the guarded one, which is in Python. Only the guarded one reads other encodings, in which a
    document type could hide.
    """
    is_utf8 = declared is None or declared[1].lower() == b"utf-8"
    if is_utf8 and isinstance(data, bytes) and b"<!DOCTYPE" not in data and b"\0" not in data:
        return fromstring(data)
    return defusedxml.ElementTree.fromstring(data)
