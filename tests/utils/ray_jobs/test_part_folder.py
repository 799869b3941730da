"""The folder of a job and its manifest."""

import dataclasses
import json

import pytest

from utils.errors import UserError
from utils.inference.job import JobSettings, digest_files
from utils.inference.sources import SourceList
from utils.ray_jobs.folder import check_folder, open_folder
from utils.ray_jobs.manifest import NAME
from utils.ray_jobs.parts import PartList, PartRecord

SOURCES = SourceList([f"{i}.png" for i in range(100)])
PARTS = PartList(SOURCES, ".jsonl")
SETTINGS = JobSettings(model="m", sources="s", number_of_sources=100)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def write(folder, number, text="{}\n", errors=0):
    """Writes a part as a worker does; returns its entry."""
    path = folder / PARTS.name(number)
    path.write_text(text)
    sources = len(PARTS[number].sources())
    return PartRecord(path.name, sources, 1, errors, len(text), digest_files([path]))


def resume(folder, settings=SETTINGS):
    """Returns the numbers of the parts that are done."""
    with open_folder(folder, settings, PARTS, resume=True) as manifest:
        return [i for i in range(len(PARTS)) if PARTS.name(i) in manifest.parts]


@pytest.fixture
def half(folder, capsys):
    """Writes two parts of a job that is interrupted."""
    with (
        pytest.raises(KeyboardInterrupt),
        open_folder(folder, SETTINGS, PARTS, resume=False) as manifest,
    ):
        manifest.add(write(folder, 2, "third\n", errors=1))
        manifest.add(write(folder, 0, "first\n"))
        write(folder, 1)  # complete, but the driver does not know it yet
        raise KeyboardInterrupt
    note = f"note: 64 of 100 sources are in {folder}; to continue, run the same command with "
    assert capsys.readouterr().err == f"{note}--resume\n"
    return folder


def test_job_continues_with_the_parts_that_the_manifest_lacks(half, capsys):
    lines = [json.loads(line) for line in (half / NAME).read_text().splitlines()]
    assert [line["part"] for line in lines] == [PARTS.name(2), PARTS.name(0)]
    assert resume(half) == [0, 2]
    assert capsys.readouterr().err == ""


def test_manifest_counts_sources_and_errors(half):
    with open_folder(half, SETTINGS, PARTS, resume=True) as manifest:
        assert (manifest.sources, manifest.errors) == (64, 1)
        manifest.add(write(half, 1))
        manifest.add(write(half, 3))
        assert (manifest.sources, manifest.errors) == (100, 1)
    assert json.loads(half.with_name("out.job.json").read_text())["complete"]


@pytest.mark.parametrize("text", [None, "First\n", "firs"])
def test_part_that_is_missing_or_changed_is_written_again(half, capsys, text):
    path = half / PARTS.name(0)
    path.unlink() if text is None else path.write_text(text)
    assert resume(half) == [2]
    assert capsys.readouterr().err == (
        f"warning: 1 part of {half} missing or changed, written again: {path.name}\n"
    )
    assert resume(half) == [2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("end", [b'{"part": "part-3', b"\0" * 40, b"[]\n", b'{"part": 1}\n'])
def test_line_that_was_cut_off_is_removed(half, end):
    whole = (half / NAME).read_bytes()
    (half / NAME).write_bytes(whole + end)
    assert resume(half) == [0, 2]
    assert (half / NAME).read_bytes() == whole


def test_leftovers_of_killed_workers_are_removed(half, capsys):
    leftover = half / f".part.host.7.{PARTS.name(1)}"
    leftover.touch()
    resume(half)
    assert not leftover.exists()
    with open_folder(half, SETTINGS, PARTS, resume=True):
        leftover.touch()
    assert not leftover.exists()
    assert "note: workers died 1 time" in capsys.readouterr().err


def test_job_with_other_settings_is_refused(half):
    other = dataclasses.replace(SETTINGS, conf=0.4)
    with pytest.raises(UserError, match=r"out was begun with --conf 0\.5, not 0\.4"):
        resume(half, other)
    assert resume(half) == [0, 2]


def test_folder_that_another_process_writes_is_refused(half):
    with (
        open_folder(half, SETTINGS, PARTS, resume=True),
        pytest.raises(UserError, match="is being written by another process"),
    ):
        resume(half)


def test_folder_that_another_process_has_begun_is_refused_without_resume(half):
    """It did not exist when the flags were checked."""
    with (
        pytest.raises(UserError, match="out already exists, continue it with --resume"),
        open_folder(half, SETTINGS, PARTS, resume=False),
    ):
        pass
    assert resume(half) == [0, 2]


def test_resume_without_a_folder_begins(folder, capsys):
    assert resume(folder) == []
    assert f"note: no {folder} yet, beginning with the first source" in capsys.readouterr().err


def test_folders_that_cannot_be_used_are_named(folder, half):
    with pytest.raises(UserError, match="already exists, continue it with --resume"):
        check_folder(folder, SOURCES, resume=False)
    with pytest.raises(UserError, match=r"no folder .* for out"):
        check_folder(folder / "no" / "out", SOURCES, resume=False)
    with pytest.raises(UserError, match="is not a folder"):
        check_folder(folder / NAME, SOURCES, resume=True)
