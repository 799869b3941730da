"""Runs that were killed before their first state was saved."""

import dataclasses
import errno
import json
import shutil
from pathlib import Path

import pytest

from nets.conventions import TORCH
from utils.errors import UserError
from utils.files import LOCK

DESCRIPTION = ("config.json", "classes.txt", "anchors.txt", "images.txt")


def keep_only(place, *names):
    """Removes everything from the run except some files."""
    for path in sorted(place.run.path.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        elif path.name not in names:
            path.unlink()


def test_run_without_a_state_begins_again(place, sessions):
    keep_only(place, *DESCRIPTION)
    config = place.run.read_description()
    code, _, err = place.start()
    assert code == 2 and "not empty" in err and "--resume run" in err
    code, _, err = place.resume()
    assert code == 0, err
    ((session, files),) = sessions
    assert not session.is_resumed and session.weights.source == "none"
    assert (session.config, session.data.classes) == config
    assert files == {*DESCRIPTION, LOCK}
    code, _, err = place.resume("--epochs", "7")
    assert code == 0 and sessions[1][0].config.recipe.epochs == 7


def change_config(place, key, value):
    path = place.run.path / "config.json"
    config = json.loads(path.read_text())
    config[key] = value
    path.write_text(json.dumps(config))


def test_initial_weights_of_a_file_are_read_again(place, sessions):
    shutil.copytree(place.run.path, "first")
    keep_only(place, *DESCRIPTION)
    change_config(place, "weights", "first/best.weights.h5")
    code, _, err = place.resume()
    assert code == 0, err
    assert sessions[0][0].weights.source == "first/best.weights.h5"
    Path("first/best.weights.h5").unlink()
    before = place.contents()
    code, _, err = place.resume()
    assert code == 2 and "begin again from its initial weights" in err.splitlines()[-1]
    assert "first/best.weights.h5" in err and place.contents() == before


def test_initial_weights_of_another_convention_are_rejected(place):
    shutil.copytree(place.run.path, "first")
    keep_only(place, *DESCRIPTION)
    change_config(place, "weights", "first/best.weights.h5")
    config, _ = place.run.read_description()
    convention = dataclasses.asdict(config.convention) | {"bn_epsilon": 0.5}
    change_config(place, "convention", convention)
    code, _, err = place.resume()
    assert code == 2 and "has changed since" in err.splitlines()[-1]


def test_run_whose_download_failed_begins_again(place, sessions, monkeypatch):
    def offline(*args):
        raise UserError("no network")

    monkeypatch.setattr("utils.weights.loading.read_imagenet", offline)
    keep_only(place)
    code, _, err = place.start("--backbone", "ghostnet", "--width", "1", "--weights", "auto")
    assert code == 0, err
    ((started, _),) = sessions
    assert started.config.weights == "none" and started.config.convention == TORCH
    place.run.describe(started.config, started.data.classes)
    code, _, err = place.resume()
    assert code == 0, err
    assert sessions[1][0].config.convention == TORCH


@pytest.mark.parametrize(
    ("left", "remedy"),
    [
        (["last.npz"], "restore it or start a new run"),
        (["last.npz", "best.weights.h5"], "a new run with --weights run/best.weights.h5"),
        (["best.weights.h5"], "a new run with --weights run/best.weights.h5"),
    ],
)
def test_trained_run_that_lost_its_config(place, left, remedy):
    keep_only(place, *left)
    code, _, err = place.resume()
    assert code == 2 and "run has no config.json, restore it" in err
    assert err.splitlines()[-1].endswith(remedy)


@pytest.mark.parametrize("left", [(LOCK,), (LOCK, ".part.config.json", "classes.txt")])
def test_leftovers_of_a_killed_process_can_be_trained_into(place, sessions, left):
    keep_only(place)
    for name in left:
        (place.run.path / name).write_text("process 7 on elsewhere (started 2026-01-01 10:00:00)")
    code, _, err = place.resume()
    assert code == 2 and "no run has begun in run" in err and "--run run" in err
    code, _, err = place.start("--epochs", "1")
    assert code == 0, err
    assert "taking over run from process 7 on elsewhere" in err
    assert sessions[0][0].config.recipe.epochs == 1


def test_full_disk_before_the_config_leaves_nothing(place, monkeypatch):
    keep_only(place)

    def fail(session, started):
        session.directory.write_images(session.data.names)
        raise OSError(errno.ENOSPC, "No space left on device", "run/config.json")

    monkeypatch.setattr("utils.training.job.train", fail)
    code, _, err = place.start()
    assert code == 1 and "run/config.json: no space left" in err.splitlines()[-1]
    assert not any(place.run.path.iterdir())


def test_file_of_the_user_is_not_a_leftover(place):
    keep_only(place, "classes.txt")
    code, _, err = place.start()
    assert code == 2 and "not empty" in err
    assert [path.name for path in place.run.path.iterdir()] == ["classes.txt"]
