"""The flags of scripts; tests/utils/test_cli.py has what happens with them."""

import pytest

from utils.parser import Parser


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--form", "coco", "--out", "o"], "unknown flag --form, did you mean --from?"),
        (["--from", "coco", "--outt", "o"], "unknown flag --outt, did you mean --out?"),
        (["stray", "--outt", "o"], "unknown flag --outt, did you mean --out?"),
        (["--from", "coco"], "the following arguments are required: --out"),
        (["--out", "o"], "one of the arguments --from --to is required"),
    ],
)
def test_a_misspelt_flag_is_reported_before_the_required_one_that_is_missing(
    capsys, argv, expected
):
    parser = Parser("A script.", prog="convert.py")
    parser.add_argument("--out", required=True)
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--from", choices=["coco"])
    direction.add_argument("--to", choices=["coco"])
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(argv)
    assert (stopped.value.code, capsys.readouterr().err) == (2, f"error: {expected}\n")


@pytest.mark.parametrize(
    ("argv", "sources"),
    [
        ([], []),
        (["--conf", "0.3"], []),
        (["a", "b", "--conf", "0.3"], ["a", "b"]),
        (["--conf", "0.3", "a", "b"], ["a", "b"]),
        (["a", "--conf", "0.3", "b", "--debug", "c"], ["a", "b", "c"]),
        (["--conf", "0.3", "--", "-a", "--conf"], ["-a", "--conf"]),
    ],
)
def test_words_between_flags_are_positional_arguments(argv, sources):
    parser = Parser("A script.")
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--conf", type=float)
    assert parser.parse_args(argv).sources == sources


def test_flags_that_were_given_are_known_even_if_they_are_set_to_the_default():
    parser = Parser("A script.")
    parser.add_argument("--yolo", default="v4")
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args(["--yolo=v4", "--epochs", "1", "--yolo", "v3"]).given
    assert given == ("yolo", "epochs")
