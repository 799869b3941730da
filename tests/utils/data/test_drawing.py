import dataclasses
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.vocset import add_image
from utils.config import Augmentation
from utils.data.annotation import read_samples
from utils.data.dataset import BatchSettings, BatchStream
from utils.data.drawing import drawing_processes
from utils.data.imagesets import ImageRef
from utils.data.training_images import TrainingImages
from utils.errors import JobError

SIZE = (64, 96)
SETTINGS = BatchSettings(SIZE, batch_size=3, max_boxes=8, augmentation=Augmentation(), seed=3)
STILL = Augmentation(jitter=0, scale=(1, 1), flip=0, hue=0, saturation=0, value=0, mosaic=0)


@pytest.fixture
def samples(tmp_path):
    names = [f"image {i}" for i in range(5)]
    for i, name in enumerate(names):
        add_image(tmp_path, name, [("a", (10 * i, 5, 10 * i + 30, 45))], (60, 80 + 10 * i))
    return read_samples([ImageRef(tmp_path, name) for name in names], ["a"])[0]


def started():
    return [each for each in multiprocessing.active_children() if each.name == "drawing"]


def test_batches_of_processes_are_those_of_threads_and_closing_ends_the_processes(samples):
    stream = BatchStream(samples, SETTINGS, processes=2)
    batches = stream.stream(0, lambda step: True, lambda step: (SIZE, (32, 48))[step % 2])
    for step, *batch in itertools.islice(batches, 4):
        expected = stream.batch(step, True, (SIZE, (32, 48))[step % 2])
        for array, other in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(array, other)
    processes = started()
    assert len(processes) == 2
    batches.close()
    for process in processes:
        process.join(20)
        assert process.exitcode is not None


def test_an_unreadable_image_is_counted_for_all_processes(samples, monkeypatch):
    monkeypatch.setattr("utils.data.reading.PAUSES", ())
    for sample in samples[:2]:
        sample.image.write_bytes(b"")
    settings = dataclasses.replace(SETTINGS, augmentation=STILL)
    batches = BatchStream(samples, settings, processes=2).stream(0, lambda step: False)
    with pytest.raises(JobError, match="2 images have become unreadable: check the disk"):
        list(itertools.islice(batches, 4))


def test_a_process_that_is_killed_is_an_error(samples):
    batches = BatchStream(samples, SETTINGS, processes=2).stream(0, lambda step: True)
    next(batches)
    for process in started():
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(JobError, match=r"ended unexpectedly \(exit code -9\): check the memory"):
        list(itertools.islice(batches, 9))


def test_an_unexpected_error_says_where_in_the_process_it_was_raised(samples):
    wrong = [dataclasses.replace(sample, labels=sample.labels[:0]) for sample in samples]
    images = TrainingImages(wrong, STILL, max_boxes=8, seed=3)
    with drawing_processes(images, 1, SIZE) as draw, pytest.raises(IndexError) as raised:
        draw(0, False, np.empty((*SIZE, 3), np.uint8))
    (note,) = raised.value.__notes__
    assert "training_images.py" in note


def test_signals_to_stop_do_not_end_a_process(samples, monkeypatch):
    """A terminal sends them to all processes, whether they have begun to run or not."""
    start = multiprocessing.process.BaseProcess.start

    def send_signals(process):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(process.pid, number)

    def start_and_send(process):
        start(process)
        send_signals(process)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start_and_send)
    images = TrainingImages(samples, Augmentation(), max_boxes=8, seed=3)
    with drawing_processes(images, 1, SIZE) as draw:
        canvas = np.empty((*SIZE, 3), np.uint8)
        draw(0, True, canvas)
        (process,) = started()
        send_signals(process)
        draw(1, True, canvas)


def test_the_images_are_pickled_once_for_all_processes(samples, monkeypatch):
    calls = []

    def state_of(images):
        calls.append(images)
        return vars(images)

    monkeypatch.setattr(TrainingImages, "__getstate__", state_of)
    images = TrainingImages(samples, Augmentation(), max_boxes=8, seed=3)
    with drawing_processes(images, 2, SIZE):
        assert calls == [images]


STREAM = """
import os, signal, sys
if __name__ == "__main__":
    sys.path.insert(0, {tests!r})
    from test_drawing import SETTINGS, BatchStream, ImageRef, Path, read_samples, started
    refs = [ImageRef(Path({folder!r}), f"image {{i}}") for i in range(5)]
    stream = BatchStream(read_samples(refs, ["a"])[0], SETTINGS, processes=2)
    batches = stream.stream(0, lambda step: True)  # is not closed
    next(batches)
    print(len(started()), flush=True)
    {end}
"""
KILLED, EXITED = "os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)"


@pytest.mark.parametrize(("end", "code"), [(KILLED, -signal.SIGKILL), (EXITED, 3)])
def test_processes_end_however_the_training_ends(samples, tmp_path, end, code):
    script = tmp_path / "script.py"
    script.write_text(
        STREAM.format(tests=str(Path(__file__).parent), folder=str(tmp_path), end=end)
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # This waits until the last process that holds the pipe of standard output ends.
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, env=environment
    )
    assert (done.returncode, done.stdout) == (code, "2\n")
