"""The lock of a run directory."""

import contextlib
import errno
import os
import subprocess
import sys

import filelock
import pytest

from tests.clusters import tf_config
from utils.errors import UserError
from utils.files import LOCK, is_in_use
from utils.run import RunDirectory, newest_run
from utils.training.run_lock import locked
from utils.training.session import own

HOLD = """
import os, sys
from pathlib import Path
from utils.training.run_lock import locked
with locked(Path(sys.argv[1])):
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path / "run"`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.readline()
        yield process
        process.kill()


def test_second_process_is_refused_and_a_killed_one_is_replaced(holder, tmp_path, capsys):
    run = tmp_path / "run"
    before = (run / LOCK).read_bytes()
    held_by = rf"run is in use by process {holder.pid} on \S+ \(started 2\d\d\d-.*\)"
    with pytest.raises(UserError, match=held_by), locked(run):
        pass
    assert (run / LOCK).read_bytes() == before
    holder.kill()
    holder.wait()
    assert (run / LOCK).read_bytes() == before and not is_in_use(run)
    with locked(run) as was_killed:
        assert was_killed
        assert f"process {os.getpid()} on" in (run / LOCK).read_text()
    assert f"from process {holder.pid} on" in capsys.readouterr().err
    assert not any(run.iterdir())


def test_train_refuses_a_directory_in_use(place):
    before = place.contents()
    with locked(place.run.path):
        for call in (place.start, place.resume):
            code, out, err = call("--epochs", "3")
            assert code == 2 and out == "" and "run is in use by process" in err
            assert len(err.splitlines()) == 1
    assert place.contents() == before


@pytest.mark.parametrize("index", [0, 1])
def test_only_the_chief_of_several_machines_locks(tmp_path, monkeypatch, index):
    workers = ["localhost:1111", "localhost:2222"]
    monkeypatch.setenv("TF_CONFIG", tf_config(index, worker=workers))
    run = tmp_path / "run"
    with own(RunDirectory(run), "multiworker"):
        assert (run / LOCK).exists() == (index == 0)
        refused = contextlib.nullcontext() if index else pytest.raises(UserError, match="in use")
        with refused, own(RunDirectory(run), "multiworker"):
            pass


def test_lock_leaves_nothing_behind(tmp_path):
    with locked(tmp_path / "a" / "run") as was_killed:
        assert not was_killed
    assert not (tmp_path / "a" / "run").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "empty"):
        1 / 0  # noqa: B018
    assert not any((tmp_path / "empty").iterdir())


def test_lock_does_not_make_a_newest_run(tmp_path):
    with locked(tmp_path / "run"):
        assert not is_in_use(tmp_path / "run")
        with pytest.raises(UserError, match="no run with weights"):
            newest_run(tmp_path)


def test_file_system_without_locks_draws_a_warning(tmp_path, monkeypatch, capsys):
    def unsupported(self, *args, **options):
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(filelock.FileLock, "acquire", unsupported)
    with locked(tmp_path / "run") as was_killed:
        assert not was_killed
    assert "has no locks" in capsys.readouterr().err


def test_full_disk_names_the_lock(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "truncate", full)
    with pytest.raises(OSError, match=r"run/\.lock"), locked(tmp_path / "run"):
        pass
    monkeypatch.undo()
    with locked(tmp_path / "run"):
        pass
