"""One trained run, of which every test gets its own copy."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import train
from tests.vocset import add_image, add_list
from utils import cli
from utils.run import RunDirectory

FLAGS = (
    *(
        "--backbone",
        "mobilenetv1",
        "--width",
        "0.25",
        "--yolo",
        "v4-tiny",
        "--input-size",
        "64",
        "--batch-size",
        "2",
    ),
    *("--weights", "none", "--precision", "float32"),
)


@dataclass
class Place:
    """A dataset and a run, and train.py, see `run_script`."""

    data: Path
    run: RunDirectory
    run_script: Callable

    def train(self, *flags):
        """Runs train.py."""
        return self.run_script(train, *flags)

    def start(self, *flags):
        """Starts a run in the directory of the run."""
        return self.train("--data", self.data, "--run", self.run.path, *FLAGS, *flags)

    def resume(self, *flags):
        """Resumes the run."""
        return self.train("--resume", self.run.path, *flags)

    def contents(self):
        """Returns the contents of all files of the run directory."""
        return {path: path.read_bytes() for path in self.run.path.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Data with names in no list, and a run of two epochs of two steps."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("trained")
    voc = folder / "VOCdevkit" / "VOC2007"
    for number in range(6):
        add_image(voc, f"image{number}", [(("cat", "dog")[number % 2], (8, 8, 60, 50))])
    for name, numbers in (("train", range(4)), ("val", (4, 5))):
        add_list(voc, name, [f"image{number}" for number in numbers])
    tf.config.run_functions_eagerly(True)
    argv = ["--data", voc.parent, "--run", folder / "run", *FLAGS, "--epochs", 2, "--save-every", 1]
    cli.run(train.main, train.build_parser(), [*map(str, argv)])
    tf.config.run_functions_eagerly(False)
    return folder


@pytest.fixture
def place(trained, tmp_path, monkeypatch, run_script, eagerly):
    """A copy of the data and of the run, in the current folder."""
    shutil.copytree(trained / "VOCdevkit", tmp_path / "VOCdevkit")
    shutil.copytree(trained / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path / "VOCdevkit", RunDirectory(Path("run")), run_script)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(str(trained), str(tmp_path)))
    return place


@pytest.fixture
def sessions(place, monkeypatch):
    """The sessions that would be trained, with the files that exist then, instead of training."""
    found = []

    def record(session, started):
        found.append((session, {path.name for path in place.run.path.iterdir()}))

    monkeypatch.setattr("utils.training.job.train", record)
    return found
