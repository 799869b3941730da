import threading
from contextlib import contextmanager

import pytest

from tests.media import save_image, save_video
from tests.red_finder import RedFinder
from utils import lookahead
from utils.data.letterbox import Letterbox
from utils.errors import JobError, UserError
from utils.inference import runner
from utils.inference.engines.keras import KerasEngine
from utils.inference.predictor import Predictor
from utils.inference.runner import Runner
from utils.inference.sinks import JsonDocument, Sink
from utils.inference.sources import find_sources


class Log(Sink):
    """Records how it is called."""

    def __init__(self):
        self.calls = []

    def begin(self, sources):
        self.calls.append(f"begin {len(sources)}")

    @contextmanager
    def recording(self, source, fps):
        self.calls.append(f"open {source.name} {fps:g}")
        try:
            yield
        except ValueError as error:
            self.calls.append(f"error {error}")
            raise
        self.calls.append(f"close {source.name}")

    def take(self, frame):
        self.calls.append(f"take {frame.name} {len(frame.detections)}")

    def end(self, source):
        self.calls.append(f"end {source.name}")

    def finish(self):
        self.calls.append("finish")


class Failing(Sink):
    def take(self, frame):
        if frame.number == 1:
            raise ValueError("second frame")


@pytest.fixture(autouse=True)
def media(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_image("a.png")
    save_video("v.mp4", count=3)


def make_runner(*sinks):
    return Runner(Predictor(KerasEngine(RedFinder(), batch_size=2)), ["red"], sinks)


def test_sinks_are_called_in_order():
    log = Log()
    loop = make_runner(log)
    loop.process(find_sources(["v.mp4", "a.png"]))
    loop.finish()
    frames = [f"take v_{i:06d} 1" for i in range(3)]
    assert log.calls == [
        *("begin 2", "open v 12.5", *frames, "close v", "end v"),
        *("take a 1", "end a", "finish"),
    ]


def test_errors_reach_the_recordings_of_all_sinks():
    logs = Log(), Log()
    with pytest.raises(ValueError, match="second frame"):
        make_runner(logs[0], Failing(), logs[1]).process(find_sources(["v.mp4"]))
    assert all(log.calls[-1] == "error second frame" for log in logs)


@pytest.mark.parametrize("name", ["a.png", "v.mp4"])
def test_images_are_resized_once_and_not_in_the_main_thread(monkeypatch, name):
    threads, resize = [], Letterbox.resize

    def record(fit, image):
        threads.append(threading.current_thread())
        return resize(fit, image)

    monkeypatch.setattr(Letterbox, "resize", record)
    log = Log()
    make_runner(log).process(find_sources([name]))
    taken = [call for call in log.calls if call.startswith("take")]
    assert len(threads) == len(taken) > 0
    assert threading.main_thread() not in threads


def test_drawn_picture_is_made_once_and_leaves_the_image():
    class Drawer(Sink):
        def take(self, frame):
            self.picture = frame.drawn
            assert (frame.image != frame.drawn).any()

    first, second = Drawer(), Drawer()
    make_runner(first, second).process(find_sources(["a.png"]))
    assert first.picture is second.picture


def test_skipped_sources_fail_the_job_after_all_sinks_have_finished(tmp_path, capsys):
    (tmp_path / "broken.png").touch()
    loop = make_runner(JsonDocument())
    loop.process(find_sources(["broken.png", "a.png"]))
    with pytest.raises(JobError, match="1 of 2"):
        loop.finish()
    assert '"source": "a.png"' in capsys.readouterr().out


def test_only_source_that_cannot_be_read_raises(tmp_path):
    (tmp_path / "broken.png").touch()
    with pytest.raises(UserError, match=r"broken\.png"):
        make_runner().process(find_sources(["broken.png"]))


@pytest.mark.parametrize("name", ["a.png", "v.mp4"])
def test_source_that_gives_no_data_is_an_error(monkeypatch, name):
    release = threading.Event()
    monkeypatch.setattr(lookahead, "READ_TIMEOUT", 0.05)
    monkeypatch.setattr(runner, "read_image", lambda path: release.wait(20))
    monkeypatch.setattr(runner, "VideoReader", lambda *arguments: release.wait(20))
    with pytest.raises(JobError, match=rf"{name} gave no data for 0\.05 s"):
        make_runner().process(find_sources([name]))
    release.set()
