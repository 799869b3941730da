"""Run directories, which training writes, and which prediction, evaluation and resuming read."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nets.conventions import Convention
from nets.detector import Detector
from utils.config import RunConfig
from utils.data.anchors import load_anchors, save_anchors
from utils.data.classes import read_classes
from utils.errors import UserError
from utils.files import written_whole
from utils.history import HISTORY, write_history
from utils.inference.engines.keras import KerasEngine
from utils.inference.predictor import Predictor
from utils.inference.thresholds import Thresholds
from utils.json_records import from_json, read_json
from utils.layer_tensors import load_exactly
from utils.weights_file import header_of, read_detector, require_same, save_detector

CONFIG = "config.json"


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run. Their names and formats are defined here.

    Attributes:
        path: The directory.
    """

    path: Path

    @property
    def best_weights(self) -> Path:
        """The weights of the best validation."""
        return self.path / "best.weights.h5"

    @property
    def state(self) -> Path:
        """The state from which training can be resumed."""
        return self.path / "last.npz"

    @property
    def result(self) -> Path:
        """The metrics of a finished run."""
        return self.path / "result.json"

    @property
    def loss_plot(self) -> Path:
        """The plot of the training losses."""
        return self.path / "epoch_loss.png"

    @property
    def map_plot(self) -> Path:
        """The plot of mAP on the validation set."""
        return self.path / "epoch_map.png"

    @property
    def images(self) -> Path:
        """The names of the images of the run."""
        return self.path / "images.txt"

    @property
    def statistics(self) -> Path:
        """The statistics of the data."""
        return self.path / "data.txt"

    @property
    def description(self) -> tuple[Path, Path, Path]:
        """The files with the classes, the anchors and the config."""
        return self.path / "classes.txt", self.path / "anchors.txt", self.path / CONFIG

    @property
    def is_described(self) -> bool:
        """Whether the directory has a config, which is the last file of the description."""
        return (self.path / CONFIG).is_file()

    def epoch_weights(self, epoch: int) -> Path:
        """The weights that were saved after an epoch, counted from 1."""
        return self.path / f"epoch-{epoch:03d}.weights.h5"

    def describe(self, config: RunConfig, classes: Sequence[str]) -> None:
        """Writes config, classes and anchors; the directory is created if it does not exist."""
        self.path.mkdir(parents=True, exist_ok=True)
        document = dataclasses.asdict(config)
        anchors = document["yolo"].pop("anchors")  # they have their own file
        # The config comes last, so that a directory with a config is complete.
        with written_whole(*self.description, durable=True) as parts:
            classes_part, anchors_part, config_part = parts
            classes_part.write_text("\n".join(classes) + "\n", encoding="utf-8")
            save_anchors(anchors_part, anchors)
            _write_json(config_part, document)

    def remove_unfinished_description(self) -> None:
        """Removes the files of a description that was interrupted before its config."""
        for path in (self.statistics, self.images, *self.description):
            path.unlink(missing_ok=True)

    def write_images(self, names: Mapping[str, Sequence[str]]) -> None:
        """Writes images.txt: one line per image, the split and the name, in order.

        Args:
            names: Names of the images by split.
        """
        lines = [f"{split} {name}\n" for split, of_split in names.items() for name in of_split]
        with written_whole(self.images, durable=True) as (part,):
            part.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")

    def read_images(self) -> dict[str, list[str]]:
        """Reads images.txt; empty if there is none, as in runs of earlier versions."""
        names: dict[str, list[str]] = {}
        if self.images.is_file():
            text = self.images.read_text(encoding="utf-8", errors="surrogateescape")
            for line in filter(None, text.split("\n")):
                split, _, name = line.partition(" ")
                names.setdefault(split, []).append(name)
        return names

    def read_description(self) -> tuple[RunConfig, list[str]]:
        """Reads the config, with its anchors, and the names of the classes.

        Raises:
            UserError: One of the files is missing or damaged.
        """
        if not self.path.is_dir():
            raise UserError(f"no run directory {self.path}, specify one that train.py has created")
        document = _read_config(self.path / CONFIG)
        try:
            classes = read_classes(self.path / "classes.txt")
            anchors = load_anchors(self.path / "anchors.txt")
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"run {self.path} is incomplete: {error}; restore the file") from error
        if isinstance(document.get("yolo"), dict):
            document["yolo"]["anchors"] = anchors.tolist()
        return from_json(RunConfig, document, str(self.path / CONFIG)), classes

    def save_best_weights(self, model: Detector, classes: Sequence[str] = ()) -> None:
        """Writes `best_weights`; see `header_of` for the arguments."""
        save_detector(self.best_weights, model, header_of(model, classes))

    def check_weights(self, model: Detector, classes: Sequence[str]) -> None:
        """Checks that `best_weights`, if they exist, are those of a detector and its classes.

        Raises:
            UserError: They contradict each other, or the file is damaged.
        """
        if self.best_weights.is_file():
            header, _ = read_detector(self.best_weights)
            require_same(header, header_of(model, classes), self.best_weights)

    def write_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Writes history.csv, see `utils.history`."""
        write_history(self.path / HISTORY, history)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Writes result.json."""
        with written_whole(self.result) as (part,):
            _write_json(part, result)

    def read_result(self) -> dict[str, Any]:
        """Reads result.json.

        Raises:
            UserError: The file is damaged.
        """
        return _read_config(self.result)


@dataclass(frozen=True)
class Run:
    """A run that was read from its directory.

    Attributes:
        path: The directory.
        config: The settings of the run.
        classes: Names of the classes, by label.
        detector: The detector with the best weights of the run.
    """

    path: Path
    config: RunConfig
    classes: list[str]
    detector: Detector

    @property
    def origin(self) -> str:
        """What it is and its path, for error messages."""
        return f"run {self.path}"

    @property
    def files(self) -> list[Path]:
        """The files that determine its predictions."""
        directory = RunDirectory(self.path)
        return [*directory.description, directory.best_weights]

    def predictor(
        self, thresholds: Thresholds, batch_size: int = 1, labels: Sequence[int] | None = None
    ) -> Predictor:
        """Builds a predictor with fixed weights that resizes images as the config says.

        Args:
            thresholds: Thresholds of non-maximum suppression.
            batch_size: Images per call of the network.
            labels: The classes to find; None for all.
        """
        engine = KerasEngine(self.detector, thresholds, batch_size, frozen=True, labels=labels)
        return Predictor(engine, stretch=self.config.resize == "stretch")


def newest_run(logs: Path | str = "logs") -> Path:
    """Returns the run directory with the newest weights.

    Raises:
        UserError: There is none.
    """
    weights = RunDirectory(Path("*")).best_weights
    found = sorted(Path(logs).glob(str(weights)), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"no run with weights in {logs}, train one first or specify it with --run")
    return found[-1].parent


def read_convention(folder: Path) -> Convention | None:
    """Reads the convention from the config.json of a folder; None if there is no such file.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    convention = _read_config(path).get("convention")
    return from_json(Convention, convention, f"{path}: convention")


def build_detector(config: RunConfig, num_classes: int) -> Detector:
    """Builds the detector that a config describes, with random weights.

    Raises:
        UserError: The config has a value that this version of the project does not support.
    """
    try:
        return Detector(
            config.backbone,
            num_classes,
            config.yolo,
            config.input_size,
            config.width,
            config.convention,
        )
    except ValueError as error:
        raise UserError(f"cannot build the detector: {error}") from error


def load_run(path: Path | str) -> Run:
    """Reads a run directory and builds its detector with the best weights.

    Raises:
        UserError: There is no such run, one of its files is missing or damaged, two of them
            contradict each other, or it has no weights yet.
    """
    directory = RunDirectory(Path(path))
    config, classes = directory.read_description()
    weights = directory.best_weights
    if not weights.is_file():
        if directory.result.is_file():
            raise UserError(f"run {path} is finished, but has no {weights.name}: restore it")
        raise UserError(f"run {path} has no {weights.name} yet, train it further with --resume")
    header, tensors = read_detector(weights)
    detector = build_detector(config, len(classes))
    require_same(header, header_of(detector, classes), weights)
    load_exactly(detector, tensors, weights)
    return Run(directory.path, config, classes, detector)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, "restore it or train again")
    except FileNotFoundError as error:
        raise UserError(f"no {path.name} in {path.parent}, specify a run directory") from error


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
