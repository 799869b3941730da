"""What a reader finds if a process is killed while it writes, and what the next process clears."""

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils.errors import UserError
from utils.export.job import written_model
from utils.files import merged_whole, written_whole
from utils.parts import ABANDONED, part_of, scratch_folder

CHANGES = ("replace", "unlink", "rmdir", "mkdir")  # of the file system, in `os`
OWNED = {"dets": ".txt", "plots/ap": ".png"}


def visible(folder):
    """Contents of all files that are not hidden, by path."""
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        name.as_posix(): path.read_text()
        for name, path in paths.items()
        if not any(part.startswith(".") for part in name.parts)
    }


@pytest.fixture
def moments(tmp_path, monkeypatch):
    """Every state of the folder `out` in which a kill could leave it."""
    found = []

    def watched(change):
        def call(*args, **options):
            found.append(visible(tmp_path / "out"))
            return change(*args, **options)

        return call

    (tmp_path / "out").mkdir()
    for name in CHANGES:
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    return found


def write_result(out, text, names):
    with merged_whole(out, OWNED) as folder:
        for name in (*names, "plots/all.png", "plots/ap/cat.png", "page.html", "results.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


@pytest.mark.parametrize("foreign", [(), ("dets/mine.md", "plots/mine.txt", "mine.json")])
def test_merged_result_is_old_or_new_at_every_moment(tmp_path, moments, foreign):
    out = tmp_path / "out"
    write_result(out, "old", ("dets/a.txt", "dets/b.txt"))
    for name in foreign:
        (out / name).write_text("mine")
    old = visible(out)
    moments.clear()
    write_result(out, "new", ("dets/b.txt", "dets/c.txt"))
    moments.append(visible(out))
    assert moments[0] == old
    assert {name for name, text in moments[-1].items() if text == "mine"} == {*foreign}
    assert moments[-1].keys() == (old.keys() - {"dets/a.txt"}) | {"dets/c.txt"}
    for moment in moments:
        assert {name for name, text in moment.items() if text == "mine"} == {*foreign}
        texts = {*moment.values()} - {"mine"}
        assert len(texts) <= 1
        if {"page.html", "results.json"} <= moment.keys():
            assert moment == (old if texts == {"old"} else moments[-1])
    assert not any(path.name.startswith(".") for path in out.iterdir())


@pytest.mark.parametrize("count", range(1, 11))  # five old ones leave, five new ones arrive
def test_error_at_any_move_leaves_the_earlier_result(tmp_path, monkeypatch, count):
    write_result(tmp_path, "old", ("dets/a.txt", "dets/b.txt"))
    old, left, replace = visible(tmp_path), count, os.replace

    def interrupted(*args):
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        replace(*args)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_result(tmp_path, "new", ("dets/c.txt",))
    assert visible(tmp_path) == old
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_file_in_place_of_a_folder_is_an_error_that_changes_nothing(tmp_path):
    (tmp_path / "results.json").mkdir()
    (tmp_path / "results.json" / "mine").write_text("mine")
    with pytest.raises(OSError, match=r"results\.json"):
        write_result(tmp_path, "new", ("dets/a.txt",))
    assert visible(tmp_path) == {"results.json/mine": "mine"}


def test_files_that_belong_together_are_old_or_new_at_every_moment(tmp_path, moments):
    paths = [tmp_path / "out" / name for name in "abc"]
    for text in ("old", "new"):
        moments.clear()
        with written_whole(*paths, together=True) as parts:
            for part in parts:
                part.write_text(text)
    moments.append(visible(tmp_path / "out"))
    assert moments[0] == dict.fromkeys("abc", "old")
    assert moments[-1] == dict.fromkeys("abc", "new")
    assert all(len({*moment.values()}) == 1 for moment in moments)


def test_model_is_never_beside_the_config_of_another_one(tmp_path, moments):
    out = tmp_path / "out"
    (out / "config.pbtxt").write_text("old")
    with written_model(out / "m.onnx", "new") as part:
        part.write_text("new")
    moments.append(visible(out))
    assert moments[-1] == {"config.pbtxt": "new", "m.onnx": "new"}
    assert all(moment["config.pbtxt"] == "new" for moment in moments if "m.onnx" in moment)


@pytest.fixture(scope="module")
def dead():
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def leave(path, process=None, host=None, age=0.0):
    """Leaves a folder as a killed process does."""
    own = f".{platform.node()}.{os.getpid()}."
    path = path.with_name(
        part_of(path, shared=True).name.replace(
            own, f".{host or platform.node()}.{process or os.getpid()}."
        )
    )
    path.mkdir()
    (path / "half").touch()
    changed = time.time() - age
    os.utime(path, (changed, changed))
    return path


@pytest.mark.parametrize("name", ["m.onnx", f"{'浣' * 80}.onnx"])
def test_parts_of_dead_processes_are_cleared_and_others_stay(tmp_path, dead, name):
    path = tmp_path / name
    cleared = [leave(path, dead), leave(path, 7, "other.machine", 2 * ABANDONED)]
    kept = [
        leave(path, os.getppid(), age=2 * ABANDONED),  # is running
        leave(path, dead, "other.machine", ABANDONED / 2),
        leave(tmp_path / f"not.{name[-30:]}", dead),
    ]
    with written_whole(path, shared=True, keep_dead=True) as (part,):
        part.touch()
    assert all(path.exists() for path in cleared)
    with written_whole(path, shared=True) as (part,):
        part.touch()
    assert [path for path in cleared if path.exists()] == []
    assert all(path.exists() for path in kept)


def test_a_path_without_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(UserError, match=r"cannot replace \.: name a new file or folder"),
        written_whole(Path()),
    ):
        pass


def test_part_of_a_process_with_the_same_number_is_replaced(tmp_path):
    left = leave(tmp_path / "trials")
    with scratch_folder(tmp_path / "trials") as folder:
        assert folder == left
        assert not [*folder.iterdir()]
    assert not left.exists()


def test_result_of_a_killed_evaluation_is_cleared(tmp_path, dead):
    for name in ("new", "old"):
        leave(tmp_path / name, dead)
    write_result(tmp_path, "new", ("dets/a.txt",))
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove everything")
def test_part_that_cannot_be_removed_is_no_error(tmp_path, dead):
    left = leave(tmp_path / "m.onnx", dead)
    left.chmod(0o500)
    with written_whole(tmp_path / "m.onnx", shared=True) as (part,):
        part.touch()
    left.chmod(0o700)
    shutil.rmtree(left)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["m.onnx"]
