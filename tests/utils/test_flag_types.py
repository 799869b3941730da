"""The types of flags."""

from argparse import ArgumentTypeError

import pytest

from utils.cli import (
    above_zero,
    at_most,
    fraction,
    integer,
    parse_size,
    positive,
    seed,
)
from utils.errors import UserError

ODD = ["9" * 5000, "1_000", "٣", "1e400", "nan", "-inf", "x", "", "0x10", "1 0"]


@pytest.mark.parametrize(
    ("text", "size"), [("416", (416, 416)), ("416x320", (416, 320)), ("32X64", (32, 64))]
)
def test_parse_size(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("400", "use 384 or 416"),
        ("100", "input size 100x100: 100 is not a multiple of 32, use 96 or 128"),
        ("416x330", "330 is not a multiple of 32, use 320 or 352"),
        ("0", "use 32"),
        ("10", "use 32"),
        ("-32", "neither N nor HxW"),
        ("1x2x3", "neither N nor HxW"),
        ("wide", "neither N nor HxW"),
        ("", "neither N nor HxW"),
        ("٣٢", "neither N nor HxW"),
        ("9" * 5000, "input size '9{30}\\.\\.\\.' is neither"),
    ],
)
def test_parse_size_rejects_other_sizes(text, hint):
    with pytest.raises(UserError, match=hint):
        parse_size(text)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (fraction, ["0", "0.5", "1", "-0", "1e-400", ".5", "1."], ["-0.1", "1.1"]),
        (positive, ["1", "7", "2147483647"], ["0", "-1", "-0", "2147483648", "1.5"]),
        (integer(0, 10), ["0", "-0", "+3", "10"], ["11", "-1"]),
        (at_most(4096), ["1", "4096"], ["0", "4097"]),
        (seed, ["0", "4294967295"], ["-1", "4294967296"]),
        (above_zero, ["1e-9", "7", "1e6"], ["0", "-0", "-1", "1e7", "1e-400"]),
    ],
)
def test_numbers_out_of_range_are_rejected(kind, good, bad):
    assert [kind(text) for text in good] == [float(text) for text in good]
    assert not any(str(kind(text)).startswith("-") for text in good)
    for text in bad + ODD:
        with pytest.raises(ArgumentTypeError, match=r"is not an? (integer|number)") as caught:
            kind(text)
        assert len(str(caught.value)) < 100


def test_a_message_states_the_limits():
    with pytest.raises(ArgumentTypeError, match=r"^'x' is not a number from 0 to 1$"):
        fraction("x")
    with pytest.raises(ArgumentTypeError, match=r"^'0' is not an integer from 1 to 4,096$"):
        at_most(4096)("0")
