"""Run directories: what training leaves, and what prediction and evaluation take."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nets.detector import Detector
from utils.config import RunConfig
from utils.data.anchors import load_anchors
from utils.data.annotation import read_classes
from utils.errors import UserError
from utils.inference.predictor import Predictor

CONFIG, CLASSES, ANCHORS = "config.json", "classes.txt", "anchors.txt"
BEST_WEIGHTS, LAST_STATE, RESULT = "best.weights.h5", "last.npz", "result.json"


@dataclass(frozen=True)
class Run:
    """A run directory, read.

    Attributes:
        path: the directory.
        config: how it was made.
        classes: names, by label.
        anchors: (levels, 3, 2) pixels.
        detector: with the best weights of the run.
    """

    path: Path
    config: RunConfig
    classes: list[str]
    anchors: np.ndarray
    detector: Detector

    def predictor(self, *settings: float, batch_size: int = 1) -> Predictor:
        """A predictor that fits images into the input as the run's config says, with fixed weights.

        Args:
            settings: confidence, iou and max_boxes, see `Predictor`.
            batch_size: images at once.
        """
        stretch = self.config.resize == "stretch"
        return Predictor(
            self.detector, *settings, batch_size=batch_size, stretch=stretch, frozen=True
        )


def newest_run(logs: Path | str = "logs") -> Path:
    """The run directory with the newest weights.

    Raises:
        UserError: there is none.
    """
    found = sorted(Path(logs).glob(f"*/{BEST_WEIGHTS}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"no run with weights in {logs}, train one first or name it with --run")
    return found[-1].parent


def read_description(path: Path) -> tuple[RunConfig, list[str], np.ndarray]:
    """Config, classes and anchors of a run directory.

    Raises:
        UserError: one of them is missing or damaged.
    """
    if not path.is_dir():
        raise UserError(f"no run directory {path}, name one that train.py made")
    config = RunConfig.load(path / CONFIG)
    try:
        return config, read_classes(path / CLASSES), load_anchors(path / ANCHORS)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"run {path} is not whole: {error}; restore the file") from error


def build_detector(config: RunConfig, num_classes: int, anchors: np.ndarray) -> Detector:
    """The detector that a config describes, with random weights.

    Raises:
        UserError: the config names what this version of the project does not have.
    """
    try:
        return Detector(
            backbone=config.backbone,
            num_classes=num_classes,
            anchors=anchors,
            version=config.yolo,
            input_size=config.input_size,
            width=config.width,
            convention=config.convention,
        )
    except ValueError as error:
        raise UserError(f"cannot build the detector: {error}") from error


def load_run(path: Path | str) -> Run:
    """Reads a run directory and builds its detector with the best weights.

    Raises:
        UserError: no such run, a file of it is missing or damaged, or it has no weights yet.
    """
    path = Path(path)
    config, classes, anchors = read_description(path)
    weights = path / BEST_WEIGHTS
    if not weights.is_file():
        raise UserError(f"run {path} has no {BEST_WEIGHTS} yet, train it further with --resume")
    detector = build_detector(config, len(classes), anchors)
    try:
        detector.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]  # Keras goes on to list all layers
        raise UserError(f"{weights} is damaged or of another detector: {reason}") from error
    return Run(path, config, classes, anchors, detector)
