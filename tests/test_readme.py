"""What the READMEs say is held to what is there: commands, flags, figures, links and pictures."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.backbone_table import table_row
from nets.backbones import list_backbones, resolve

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
LARGEST_PICTURE = 300_000  # bytes


def read(readme):
    return (ROOT / readme).read_text(encoding="utf-8")


def commands(readme):
    """The lines of all shell blocks as lists of words, comments left out."""
    blocks = re.findall(r"^```sh\n(.*?)^```", read(readme), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def table_of_backbones(readme):
    table = re.search(r"<!-- backbones.*?-->\n(.*?)<!-- /backbones -->", read(readme), re.DOTALL)
    return table[1].splitlines()[2:]


def parser_of(script):
    return importlib.import_module(script.removesuffix(".py")).build_parser()


@pytest.mark.parametrize("words", commands("README.md"), ids=" ".join)
def test_commands_are_accepted(words, capsys):
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "python" and words[1].endswith(".py"):
        arguments = words[2 : words.index(">") if ">" in words else None]
        try:
            parser_of(words[1]).parse_args(arguments)
        except SystemExit:
            pytest.fail(capsys.readouterr().err)
    else:
        assert words[0] in ("python", "source", "pip")  # the environment, made by hand


@pytest.mark.parametrize("readme", READMES)
def test_flags_in_the_text_exist(readme):
    known = {
        flag
        for script in ROOT.glob("*.py")
        for action in parser_of(script.name)._actions
        for flag in action.option_strings
    }
    known.add("--logdir")  # TensorBoard's
    code = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", read(readme), flags=re.DOTALL))
    flags = {flag for span in code for flag in re.findall(r"(?<!\S)--[a-z-]+", span)}
    assert len(flags) > 30
    assert flags <= known


def test_both_languages_have_the_same_commands_flags_and_figures():
    assert commands(READMES[0]) == commands(READMES[1])
    assert table_of_backbones(READMES[0]) == table_of_backbones(READMES[1])
    first, second = (sorted(set(re.findall(r"`([^`\n]+)`", read(name)))) for name in READMES)
    assert first == second


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_to_files(readme):
    links = re.findall(r"\]\(([^)]+)\)|<img[^>]* src=\"([^\"]+)\"", read(readme))
    local = [link for pair in links for link in pair if link and "://" not in link]
    assert local
    for link in local:
        path, _, heading = link.partition("#")
        assert (ROOT / (path or readme)).is_file(), link
        headings = re.findall(r"^#+ (.+)$", read(path or readme), re.MULTILINE) if heading else []
        assert not heading or heading in [h.lower().replace(" ", "-") for h in headings], link


def test_pictures_are_small_and_all_shown():
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    for picture in pictures:
        assert picture.stat().st_size < LARGEST_PICTURE, picture
        for readme in READMES:
            assert f"docs/images/{picture.name}" in read(readme)


def test_table_of_backbones_is_that_of_the_registry():
    rows = [row.split(" | ") for row in table_of_backbones("README.md")]
    assert [row[0].strip("| `") for row in rows] == list_backbones()
    for name, row in zip(list_backbones(), rows, strict=True):
        assert tuple(map(float, row[1].split(", "))) == resolve(name).widths
        assert resolve(name).default_width == 1  # as the text says


CHEAP = ("mobilenetv3_small", "shufflenetv2")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in CHEAP else pytest.mark.slow)
        for name in list_backbones()
    ],
)
def test_figures_of_backbones(name):
    assert table_row(name) in table_of_backbones("README.md")
