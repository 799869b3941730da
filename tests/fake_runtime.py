"""A runtime of exported models for tests, which finds red boxes like `tests.red_finder`."""

import sys
from types import SimpleNamespace

import numpy as np

from nets.versions import VERSIONS
from utils.inference.engines.session import expected_shapes
from utils.inference.metadata import Metadata, to_text

INPUT_SIZE = (64, 96)


def make_metadata(**options) -> Metadata:
    """Makes the metadata of a model with one class."""
    values = {"backbone": "mobilenetv1", "width": 0.25, "yolo": "v4", "classes": ("红/red",)}
    values |= {"anchors": VERSIONS["v4"].anchors, "input_size": INPUT_SIZE, "weights": "0"}
    return Metadata(**{**values, **options})


class RedSession:
    """A session whose first prediction is the box of the red pixels, with a score of 0.9.

    Attributes:
        runs: Number of calls.
    """

    def __init__(self, metadata, settings):
        self.description = f"red finder, {settings.threads or 2} threads, {settings.precision}"
        batch = metadata.batch or settings.batch_size
        self.images = np.zeros((batch, *metadata.input_size, 3), np.float32)
        self._shapes = expected_shapes(metadata)
        self.runs = 0

    def run(self):
        self.runs += 1
        outputs = {
            name: np.zeros((len(self.images), *shape[1:]), np.float32)
            for name, shape in self._shapes.items()
            if name != "images"
        }
        height, width = self.images.shape[1:3]
        for index, image in enumerate(self.images):
            rows, columns = np.nonzero((image[..., 0] > 200) & (image[..., 1] < 50))
            if len(rows):
                box = np.float32([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                outputs["boxes"][index, 0] = box / [width, height, width, height]
                outputs["scores"][index, 0] = 0.9
                if "counts" in outputs:
                    outputs["counts"][index] = 1
        return outputs


def install(monkeypatch, path, **options) -> list[RedSession]:
    """Writes a model file, and replaces the runtime of ONNX files by this one.

    Returns:
        The sessions that are opened; empty at first.
    """
    path.write_text(to_text(make_metadata(**options)))
    sessions = []

    def open_session(path, metadata, settings):
        sessions.append(RedSession(metadata, settings))
        return sessions[-1]

    runtime = SimpleNamespace(read_text=lambda path: path.read_text(), open_session=open_session)
    monkeypatch.setitem(sys.modules, "utils.inference.engines.onnx", runtime)
    return sessions
