import tracemalloc

import numpy as np
import pytest

from tests.red_finder import picture
from utils.inference import runner
from utils.inference.detections import Detections
from utils.inference.job import JobSettings
from utils.inference.json_lines import JsonLines
from utils.inference.record_file import open_records
from utils.inference.runner import Runner
from utils.inference.sources import SourceList

FOUND = Detections(
    np.tile(np.float32([1.5, 2.5, 10.25, 12]), (3, 1)),
    np.float32([0.9, 0.8, 0.7]),
    np.zeros(3, np.int32),
)


class FixedPredictor:
    """Finds the same in every image."""

    batch_size = 4

    def prepare(self, image):
        return image

    def __call__(self, images):
        return [FOUND] * len(images)


@pytest.fixture
def peak(tmp_path, monkeypatch):
    """Returns a function that measures the largest memory of a job, in bytes."""
    monkeypatch.setattr(runner, "read_image", lambda path: picture(8, 8))
    monkeypatch.setattr(runner, "count_pictures", lambda path: 1)

    def measure(count):
        path, sources = tmp_path / "out.jsonl", SourceList(["a.png"] * count)
        path.unlink(missing_ok=True)
        settings = JobSettings(model="m", sources="s", number_of_sources=count)
        tracemalloc.start()
        with open_records(path, settings, sources, resume=False) as file:
            lines = JsonLines(file, lambda: False)
            Runner(FixedPredictor(), ["red"], [lines]).process(file.rest)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert path.read_bytes().count(b"\n") == count
        return most

    return measure


def test_memory_does_not_grow_with_the_number_of_images(peak):
    peak(100)  # fills caches
    # A source and a record take more than 500 bytes together, so that 1500 would take 750 kB.
    assert peak(1600) - peak(100) < 150_000
