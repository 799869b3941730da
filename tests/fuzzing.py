"""Damages valid files at random, and judges what a reader makes of the result."""

import contextlib
import copy
import signal
from xml.etree import ElementTree

from hypothesis import strategies as st

from tests.peak_memory import memory_limit
from utils.errors import JobError, UserError
from utils.text import one_line

SECONDS = 10  # of the processor; waiting is left to pytest-timeout
MEMORY = 2**30  # bytes by which the memory of the process may grow

# Bytes that parsers of binary formats take for sizes, offsets and signs.
EXTREMES = st.sampled_from(
    [b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\1\0\0"]
)
NUMBERS = st.sampled_from(
    [
        *(0, -1, 1, 3, 0.5, -0.0, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400),
        *(1e-320, 1e38, 1e39, 1e308, -1e308, float("inf"), float("nan"), True),
    ]
)
WORDS = st.sampled_from(
    [
        *("", " ", "0", "-1", "1.5", "1e39", "1e400", "nan", "inf", "1_0", "٣", "²", "9" * 5000),
        *(
            "cat",
            "dog",
            "a\nb",
            "a\x85b",
            "\u2028",
            "\ufeff",
            "\x1b[2J",
            "a\x00b",
            "\ud800",
            "../x",
        ),
        *("/dev/zero", "..", "a/" * 300, "x" * 70_000, "null", "~", "[]", "{}", "红"),
    ]
)
VALUES = st.recursive(
    st.none() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw, files, words=()):
    """Draws one of several files with one to four changes of its bytes.

    Args:
        draw: Given by hypothesis.
        files: Contents of valid files.
        words: Parts that the format has a meaning for.
    """
    data = bytearray(draw(st.sampled_from(files)))
    parts = EXTREMES | st.binary(max_size=8)
    if words:
        parts |= st.sampled_from(words)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        change = draw(
            st.sampled_from(("flip", "write", "insert", "cut", "end", "repeat", "splice"))
        )
        if change == "flip":
            data[start : start + 1] = bytes(
                byte ^ draw(st.integers(1, 255)) for byte in data[start : start + 1]
            )
        elif change == "write":
            part = draw(parts)
            data[start : start + len(part)] = part
        elif change == "insert":
            data[start:start] = draw(parts)
        elif change == "cut":
            del data[start : start + draw(st.integers(1, 64))]
        elif change == "end":
            del data[start:]
        elif change == "repeat":
            data[start:start] = data[start : start + draw(st.integers(1, 64))] * draw(
                st.integers(1, 9)
            )
        else:
            other = draw(st.sampled_from(files))
            data[start:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


@st.composite
def changed(draw, document, values=VALUES):
    """Draws a JSON document with one to three changed values, keys or lengths."""
    document = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(("value", "value", "remove", "rename", "repeat", "wrap")))
        if change == "value":
            parent[key] = draw(values)
        elif change == "wrap":
            parent[key] = [parent[key]]
        elif parent is document:
            continue
        elif change == "remove":
            del parent[key]
        elif isinstance(parent, list):
            parent[key:key] = [parent[key]] * draw(st.integers(1, 3))
        elif change == "rename":
            parent[draw(WORDS)] = parent.pop(key)
        else:
            parent[draw(st.sampled_from(list(parent)))] = parent[key]
    return document[0]


def _places(parent):
    """Yields container and key of every value in a document."""
    for key in range(len(parent)) if isinstance(parent, list) else list(parent):
        yield parent, key
        if isinstance(parent[key], list | dict):
            yield from _places(parent[key])


@st.composite
def changed_xml(draw, text):
    """Draws an XML document with one to three changed elements, as bytes."""
    root = ElementTree.fromstring(text)
    for _ in range(draw(st.integers(1, 3))):
        nodes = list(root.iter())
        node, other = draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes))
        change = draw(st.sampled_from(("text", "text", "tag", "clear", "remove", "repeat", "swap")))
        if change == "text":
            node.text = draw(WORDS)
        elif change == "tag":
            node.tag = draw(st.sampled_from([each.tag for each in nodes] + ["x", "{u}object"]))
        elif change == "clear":
            node.clear()
        elif change == "swap":
            node.text, other.text = other.text, node.text
        elif len(node):
            child = draw(st.sampled_from(list(node)))
            if change == "remove":
                node.remove(child)
            else:
                node.extend([copy.deepcopy(child)] * draw(st.integers(1, 3)))
    encoded = ElementTree.tostring(root, encoding="unicode").encode("utf-8", "surrogatepass")
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + encoded


@st.composite
def changed_lines(draw, text, words=WORDS):
    """Draws a text with one to four changed words or lines."""
    lines = [line.split(" ") for line in text.split("\n")]
    for _ in range(draw(st.integers(1, 4))):
        line = draw(st.sampled_from(lines))
        change = draw(st.sampled_from(("word", "word", "add", "remove", "repeat", "line")))
        if change == "line":
            lines.append([draw(words)])
        elif change == "repeat":
            lines.append(list(line))
        elif change == "add" or not line:
            line.append(draw(words))
        else:
            position = draw(st.integers(0, len(line) - 1))
            line[position : position + 1] = [draw(words)] if change == "word" else []
    return "\n".join(map(" ".join, lines)).encode("utf-8", "surrogatepass")


class TooSlowError(AssertionError):
    """A reader takes more than `SECONDS`."""


def _stop(*_):
    raise TooSlowError(f"takes more than {SECONDS} s")


@contextlib.contextmanager
def limits():
    """Fails if the block takes more than `SECONDS`, or `MEMORY` bytes more memory."""
    handler = signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with memory_limit(MEMORY):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)


def judge(read, *args, **options):
    """Calls a reader, which either returns a result or refuses its input as `utils.cli` expects.

    Args:
        read: The reader.
        args: Its arguments.
        options: Its keyword arguments.

    Returns:
        The result; None if the input was refused.

    Raises:
        AssertionError: The reader takes too much time or memory.
        Exception: Anything that users would see as an internal error.
    """
    with limits():
        try:
            return read(*args, **options)
        except (UserError, JobError) as error:
            check_line(one_line(str(error)))
        except OSError as error:
            if error.errno is None:  # `utils.cli` reports only errors of the file system
                raise
    return None


def check_line(text):
    """Checks that a text is one line that can be printed."""
    assert text and len(text.splitlines()) == 1, repr(text)
    assert text.encode() and "\x1b" not in text
