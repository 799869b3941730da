"""The flags of all scripts."""

import contextlib
import importlib
import io
import itertools
import math

from hypothesis import strategies as st

from tests.fuzzing import WORDS, check_line, limits

SCRIPTS = ["train", "predict", "get_map", "export", "serve", "summary", "contact_sheet"]
SCRIPTS += ["convert_weights", "convert_dataset", "kmeans_for_anchors", "voc_annotation"]
SCRIPTS += ["make_demo_data"]
VALUES = WORDS | st.text(max_size=8) | st.integers().map(str) | st.floats().map(str)
VALUES |= st.sampled_from(["416", "0.5", "1/4", "v4", "--", "-", "-1", "@/etc/passwd", "%s"])


def check_values(namespace):
    """Checks that numbers are finite and not of absurd size."""
    for name, value in vars(namespace).items():
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, int | float):
                assert math.isfinite(each) and abs(each) <= 2**32, name


def command_line(parser):
    """Draws words of a command line."""
    flags = st.sampled_from(sorted(parser._option_string_actions))
    words = flags | VALUES | st.builds("{}={}".format, flags, VALUES)
    parts = st.lists(st.tuples(flags, VALUES) | st.tuples(words), max_size=4)
    return parts.map(lambda parts: [*itertools.chain(*parts)])


def test_flags(fuzz):
    parsers = [importlib.import_module(script).build_parser() for script in SCRIPTS]

    def check(parser_and_words):
        parser, words = parser_and_words
        out, err = io.StringIO(), io.StringIO()
        try:
            with limits(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                check_values(parser.parse_args(words))
        except SystemExit as stopped:
            if stopped.code:
                assert stopped.code == 2
                check_line(err.getvalue().rstrip("\n"))
            else:
                assert out.getvalue()  # --help or --version
        assert not (err.getvalue() and out.getvalue())

    lines = [st.tuples(st.just(parser), command_line(parser)) for parser in parsers]
    fuzz(check, parser_and_words=st.one_of(lines))
