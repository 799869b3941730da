"""Draws videos of coloured squares on known paths, and a fake network that finds them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.inference.detections import Detections
from utils.inference.predictor import Predictor
from utils.inference.video import VideoWriter

HEIGHT, WIDTH = 192, 320
SIDE = 40  # of a square, in pixels
COLOURS = {"red": (255, 0, 0), "yellow": (255, 255, 0), "blue": (0, 0, 255)}
CLASSES = ["car", "person"]
LABELS = {"red": 0, "yellow": 0, "blue": 1}
WALL = (128, 128, 128)

Path2D = Callable[[int], tuple[float, float]]  # the centre of a square, by the number of the frame


def save_scene(path, count: int, squares: Mapping[str, Path2D], walls=()) -> None:
    """Writes a video; later squares hide earlier ones, and walls hide all of them.

    Args:
        path: The file.
        count: Number of frames.
        squares: Paths of the centres, by colour.
        walls: Boxes xyxy.
    """
    with VideoWriter(Path(path), 25) as video:
        for i in range(count):
            image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
            for colour, centre in squares.items():
                xmin, ymin = (round(each - SIDE / 2) for each in centre(i))
                _fill(image, (xmin, ymin, xmin + SIDE, ymin + SIDE), COLOURS[colour])
            for wall in walls:
                _fill(image, wall, WALL)
            video.write(image)


def _fill(image, box, colour):
    xmin, ymin, xmax, ymax = np.maximum(box, 0)
    image[ymin:ymax, xmin:xmax] = colour


class SquareFinder:
    """An engine that finds the visible part of each square.

    Its score is 0.95, times the square of the visible fraction.
    """

    input_size = (HEIGHT, WIDTH)
    strides = (8, 16, 32)

    def __init__(self, thresholds, batch_size=1):
        self.batch_size = batch_size
        self.canvases = np.zeros((batch_size, HEIGHT, WIDTH, 3), np.uint8)
        self._confidence = thresholds.confidence

    def detect(self, count):
        return [self._find(canvas.astype(int)) for canvas in self.canvases[:count]]

    def _find(self, canvas):
        found = []
        for name, colour in COLOURS.items():
            rows, columns = np.nonzero((abs(canvas - colour) < 90).all(axis=-1))
            score = 0.95 * min(1.0, len(rows) / SIDE**2) ** 2
            if len(rows) and score >= self._confidence:
                box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                found.append((score, box, LABELS[name]))
        found.sort(reverse=True)
        return Detections(
            np.array([box for _, box, _ in found], np.float32).reshape(-1, 4),
            np.array([score for score, _, _ in found], np.float32),
            np.array([label for _, _, label in found], np.int32),
        )


@dataclass(frozen=True)
class SquareModel:
    """What `utils.models.open_model` returns, with a `SquareFinder` inside."""

    path: Path = Path("logs/newest")
    origin: str = "a fake model"

    @property
    def classes(self):
        return list(CLASSES)

    def predictor(self, thresholds, batch_size=1, labels=None):
        return Predictor(SquareFinder(thresholds, batch_size))
