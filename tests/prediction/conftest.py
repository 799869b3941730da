import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import predict
import utils.run
from tests.red_finder import RedFinder
from utils import cli


@pytest.fixture(autouse=True)
def detector(tmp_path, monkeypatch):
    """Changes to an empty directory in which the newest run has a fake detector."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `cli.run` sets it
    config = SimpleNamespace(resize="letterbox")
    detector = RedFinder()
    newest = utils.run.Run(Path("logs/newest"), config, ["红/red"], detector)
    monkeypatch.setattr(utils.run, "newest_run", lambda: Path("logs/newest"))
    monkeypatch.setattr(utils.run, "load_run", lambda path: newest)
    return detector


@pytest.fixture
def run(capsys):
    """Runs predict.py; returns exit code, standard output and standard error."""

    def call(*flags):
        try:
            cli.run(predict.main, predict.build_parser(), [str(flag) for flag in flags])
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call
