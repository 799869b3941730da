"""Exported models, which predict like the run that they were exported from."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

from utils.errors import UserError
from utils.inference.engines import web
from utils.inference.engines.exported import ExportedEngine
from utils.inference.engines.session import RuntimeSettings, Session
from utils.inference.metadata import Metadata, from_text
from utils.inference.predictor import Predictor
from utils.inference.thresholds import Thresholds
from utils.text import counted

SUFFIXES = {".onnx": "onnx", ".tflite": "litert", ".xml": "openvino"}


@dataclass(frozen=True)
class ExportedModel:
    """A file, or a folder, of export.py.

    Attributes:
        path: The file.
        metadata: What the file says about itself.
        settings: How the runtime uses the machine.
    """

    path: Path
    metadata: Metadata
    settings: RuntimeSettings

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""
        return list(self.metadata.classes)

    @property
    def origin(self) -> str:
        """What it is and its path, for error messages."""
        return f"model {self.path}"

    @property
    def files(self) -> list[Path]:
        """The files that determine its predictions."""
        if self.path.is_dir():
            return sorted(path for path in self.path.rglob("*") if path.is_file())
        weights = self.path.with_suffix(".bin")  # of OpenVINO, beside its XML file
        is_split = format_of(self.path) == "openvino" and weights.exists()
        return [self.path, weights] if is_split else [self.path]

    def open(self) -> Session:
        """Loads the model into its runtime.

        Raises:
            UserError: The runtime is not installed, or the file is damaged or contradicts its
                metadata.
        """
        return _runtime(self.path).open_session(self.path, self.metadata, self.settings)

    def predictor(
        self, thresholds: Thresholds, batch_size: int = 1, labels: Sequence[int] | None = None
    ) -> Predictor:
        """Loads the model and builds a predictor, as `utils.run.Run.predictor` does.

        Notes on standard error say how the runtime uses the machine, and what the model does not
        leave to the arguments.

        Args:
            thresholds: Thresholds of non-maximum suppression.
            batch_size: Images per call, if the model leaves it free.
            labels: The classes to find; None for all.

        Raises:
            UserError: See `open`.
        """
        metadata = self.metadata
        session = replace(self, settings=replace(self.settings, batch_size=batch_size)).open()
        _note(session.description)
        if metadata.batch not in (None, batch_size):
            _note(
                f"{self.path} takes {counted(metadata.batch, 'image')} per call, which replaces "
                f"a batch size of {batch_size}"
            )
        if metadata.nms and relaxes(thresholds, metadata.thresholds):
            baked = metadata.thresholds
            print(
                f"warning: {self.path} suppresses boxes itself, with --conf {baked.confidence:g}, "
                f"--iou {baked.iou:g} and --max-boxes {baked.max_boxes}: other values of --iou "
                "have no effect, those of the other two only if they keep fewer boxes",
                file=sys.stderr,
            )
        return self.predictor_of(session, thresholds, labels)

    def predictor_of(
        self, session: Session, thresholds: Thresholds, labels: Sequence[int] | None = None
    ) -> Predictor:
        """Builds a predictor on a session of this model, without notes; see `predictor`."""
        engine = ExportedEngine(session, self.metadata, thresholds, labels)
        return Predictor(engine, stretch=self.metadata.preprocessing.resize == "stretch")


def load_model(path: Path, settings: RuntimeSettings) -> ExportedModel:
    """Reads the metadata of an exported model.

    Raises:
        UserError: There is no such file, its format is unknown, its metadata is missing or damaged,
            or its runtime does not offer the precision.
    """
    if not path.exists():
        raise UserError(f"no model {path}, specify a file of export.py")
    if settings.precision not in ("auto", "float32") and format_of(path) != "openvino":
        raise UserError(
            f"--precision {settings.precision} applies only to models of OpenVINO: remove it to "
            f"run {path}"
        )
    return ExportedModel(path, from_text(_runtime(path).read_text(path), path), settings)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def find_exports(folder: Path) -> list[Path]:
    """Returns the exported models of a folder.

    Hidden files are left out: they are being written, or left behind by a process that was killed.

    Raises:
        UserError: There is none.
    """
    paths = sorted(folder.glob("[!.]*"))
    found = [path for path in paths if format_of(path)]
    if not found:
        raise UserError(f"no exported model in {folder}, write one with --format")
    return found


def relaxes(wanted: Thresholds, baked: Thresholds) -> bool:
    """Returns whether thresholds ask for what a model with others inside cannot do."""
    return (
        wanted.confidence < baked.confidence
        or wanted.iou != baked.iou
        or wanted.max_boxes > baked.max_boxes
    )


def format_of(path: Path) -> str | None:
    """Returns the format of a model, a name of `utils.export.formats`; None if it is no model."""
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    if (path / web.MODEL).is_file():
        return "web"
    if path.is_dir() and any(path.glob("*.xml")):
        return "openvino"
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return "saved_model"
    return None


def _runtime(path: Path) -> ModuleType:
    """Imports the module of `utils.inference.engines` that reads a path."""
    name = format_of(path)
    if name is None:
        raise UserError(
            f"{path} is no exported model: specify a .onnx or .tflite file, or a folder of "
            "OpenVINO, SavedModel or --format web"
        )
    return import_module(f"utils.inference.engines.{name}")
