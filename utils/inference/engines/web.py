"""Runs the model of a folder of `export.py --format web`, which is an ONNX file."""

from pathlib import Path

from utils.inference.engines import onnx
from utils.inference.engines.session import RuntimeSettings, Session
from utils.inference.metadata import Metadata

MODEL = "detector.onnx"  # in the folder


def read_text(path: Path) -> str | None:
    """Reads the metadata document of the model; see `utils.inference.model`."""
    return onnx.read_text(path / MODEL)


def open_session(path: Path, metadata: Metadata, settings: RuntimeSettings) -> Session:
    """Loads the model; see `utils.inference.engines.onnx.open_session`."""
    return onnx.open_session(path / MODEL, metadata, settings)
