"""Checks the READMEs against the project: commands, flags, figures, links and pictures."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.backbone_table import backbone_row
from nets.backbones import list_backbones, resolve

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
OTHERS = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/*.md"))]
OTHERS += ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
MAX_PICTURE_BYTES = 300_000


def read(readme):
    return (ROOT / readme).read_text(encoding="utf-8")


def commands(readme):
    """Returns the lines of all shell blocks as lists of words, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", read(readme), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def demo_commands():
    """Returns the scripts that `make demo` runs, and their flags."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1]
    recipe = re.sub(r"\$\$\(.*\)", "picture.jpg", recipe).replace("$(PYTHON)", "python")
    lines = re.sub(r"\$\((\w+)\)", r"\1", recipe).splitlines()
    return [words[1:] for line in lines if (words := line.split())[0] == "python"]


def benchmark_commands():
    """Returns the benchmarks in the documentation, and their flags."""
    text = "\n".join(map(read, (*READMES, *OTHERS))).replace("\\\n", " ")
    found = re.findall(r"python -m (benchmarks\.[^`\n]+)", text)
    return [shlex.split(each, comments=True) for each in sorted(set(found))]


def rows_of_backbones(readme):
    table = re.search(r"<!-- backbones.*?-->\n(.*?)<!-- /backbones -->", read(readme), re.DOTALL)
    return table[1].splitlines()[2:]


def build_parser(script):
    return importlib.import_module(script.removesuffix(".py")).build_parser()


@pytest.mark.parametrize("words", commands("README.md"), ids=" ".join)
def test_commands_parse(words, capsys):
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "python" and words[1].endswith(".py"):
        arguments = words[2 : words.index(">") if ">" in words else None]
        try:
            build_parser(words[1]).parse_args(arguments)
        except SystemExit:
            pytest.fail(capsys.readouterr().err)
    else:
        assert words[0] in ("python", "source", "pip")  # these create the environment without make


@pytest.mark.parametrize("words", demo_commands(), ids=" ".join)
def test_commands_of_the_demo_parse(words):
    build_parser(words[0]).parse_args(words[1:])


@pytest.mark.parametrize("words", benchmark_commands(), ids=" ".join)
def test_benchmarks_parse(words):
    module = importlib.import_module(words[0])
    if words[1:]:
        module.build_parser().parse_args(words[1:])


@pytest.mark.parametrize("readme", READMES)
def test_flags_exist(readme):
    known = {
        flag
        for script in ROOT.glob("*.py")
        for action in build_parser(script.name)._actions
        for flag in action.option_strings
    }
    known.add("--logdir")  # TensorBoard's
    code = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", read(readme), flags=re.DOTALL))
    flags = {flag for span in code for flag in re.findall(r"(?<!\S)--[a-z-]+", span)}
    assert len(flags) > 30
    assert flags <= known


def test_languages_have_the_same_commands_and_figures():
    assert commands(READMES[0]) == commands(READMES[1])
    assert rows_of_backbones(READMES[0]) == rows_of_backbones(READMES[1])
    first, second = (sorted(set(re.findall(r"`([^`\n]+)`", read(name)))) for name in READMES)
    assert first == second


@pytest.mark.parametrize("readme", [*READMES, *OTHERS])
def test_links_exist(readme):
    links = re.findall(r"\]\(([^)]+)\)|<img[^>]* src=\"([^\"]+)\"", read(readme))
    local = [link for pair in links for link in pair if link and "://" not in link]
    assert local or readme in OTHERS
    for link in local:
        path, _, heading = link.partition("#")
        target = (ROOT / readme).parent / path if path else ROOT / readme
        assert target.exists(), link
        text = target.read_text(encoding="utf-8") if heading else ""
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert not heading or heading in [h.lower().replace(" ", "-") for h in headings], link


def test_pictures_are_small_and_shown():
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    docs = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    for picture in pictures:
        assert picture.stat().st_size < MAX_PICTURE_BYTES, picture
        shown = [f"docs/images/{picture.name}" in read(readme) for readme in READMES]
        in_docs = any(
            f"(images/{picture.name})" in each or f'"images/{picture.name}"' in each
            for each in docs
        )
        assert all(shown) or (in_docs and not any(shown)), picture


def test_backbone_table_matches_the_registry():
    rows = [row.split(" | ") for row in rows_of_backbones("README.md")]
    assert [row[0].strip("| `") for row in rows] == list_backbones()
    for name, row in zip(list_backbones(), rows, strict=True):
        assert tuple(map(float, row[1].split(", "))) == resolve(name).widths
        assert resolve(name).default_width == 1  # as stated in the text


CHEAP = ("mobilenetv3_small", "shufflenetv2")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in CHEAP else pytest.mark.slow)
        for name in list_backbones()
    ],
)
def test_backbone_figures(name):
    assert backbone_row(name) in rows_of_backbones("README.md")
