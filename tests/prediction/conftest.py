from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import predict
import utils.run
from tests.ray_driver import Driver
from tests.red_finder import RedFinder


@pytest.fixture(autouse=True)
def detector(tmp_path, monkeypatch):
    """Changes to an empty directory in which the newest run has a fake detector."""
    monkeypatch.chdir(tmp_path)
    config = SimpleNamespace(resize="letterbox")
    detector = RedFinder()
    newest = utils.run.Run(Path("logs/newest"), config, ["红/red"], detector)
    monkeypatch.setattr(utils.run, "newest_run", lambda: Path("logs/newest"))
    monkeypatch.setattr(utils.run, "load_run", lambda path: newest)
    return detector


@pytest.fixture
def run(run_script):
    """Runs predict.py, see `run_script`."""
    return partial(run_script, predict)


@pytest.fixture
def start_job():
    """Returns a function that starts a job of Ray, see `Driver`; it ends with the test."""
    with ExitStack() as stack:
        yield lambda *flags, **options: stack.enter_context(Driver(*flags, **options))
