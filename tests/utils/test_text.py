import pytest

from utils.text import (
    clean_file_name,
    counted,
    did_you_mean,
    first_few,
    format_table,
    printable,
    unique_file_names,
)


@pytest.mark.parametrize(
    ("word", "known", "nearest"),
    [
        ("ghostnett", ["mobilenetv2", "ghostnet"], "ghostnet"),
        ("--bakbone", ["--batch-size", "--backbone"], "--backbone"),
        ("xyz", ["only"], "only"),  # even if it is very different
    ],
)
def test_did_you_mean(word, known, nearest):
    assert did_you_mean(word, known) == f"did you mean {nearest}?"


def test_printable():
    assert printable("浣熊 (2).jpg") == "浣熊 (2).jpg"
    assert printable("a\nb\x01\u2028\udcff") == r"a\nb\x01\u2028\udcff"


def test_first_few():
    assert first_few([]) == ""
    assert first_few(["dog", "cat"]) == "cat, dog"
    assert first_few("edcba") == "a, b, c, d, e"
    assert first_few("gfedcba") == "a, b, c, d, e and 2 more"
    assert first_few({"b", "a", "c"}, 1) == "a and 2 more"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("浣熊 (2)", "浣熊 (2)"),
        ("a/b\\c:d", "a_b_c_d"),
        ('*?"<>|', "______"),
        ("tab\there\0", "tab_here_"),
        ("", "_"),
        ("x" * 101, "x" * 100),
        ("浣" * 100, "浣" * 60),  # of three bytes each
    ],
)
def test_clean_file_name(text, name):
    assert clean_file_name(text) == name


def test_unique_file_names():
    assert unique_file_names(["cat", "Cat", "a/b", "a:b", "a_b"]) == [
        "cat",
        "Cat_2",
        "a_b",
        "a_b_2",
        "a_b_3",
    ]
    assert unique_file_names(["cat", "cat_2", "cat"]) == ["cat", "cat_2", "cat_3"]


def test_a_table_is_aligned():
    assert format_table([["", "one"], ["long", "2"]]) == "      one\nlong    2\n"
    rows = [["class", "mAP", "images"], ["a", "0.5", "10"]]
    assert format_table(rows) == "class  mAP  images\na      0.5      10\n"


def test_a_chinese_character_takes_two_columns_of_a_table():
    assert format_table([["浣熊", "1"], ["cats", "20"]]) == "浣熊   1\ncats  20\n"


def test_a_table_has_no_trailing_spaces():
    assert format_table([["head", ""], ["a", "b"]]) == "head\na     b\n"


def test_a_count_has_its_noun_in_the_right_number():
    assert [counted(count, "image") for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
