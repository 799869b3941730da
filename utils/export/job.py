"""Exports a run to one file."""

import hashlib
from importlib import import_module
from pathlib import Path

from nets.detector import Detector
from nets.inference_network import inference_network
from utils.export.formats import ExportSettings
from utils.files import refuse_existing, written_whole
from utils.inference.metadata import Metadata, Preprocessing
from utils.inference.thresholds import Thresholds
from utils.run import Run


def describe(run: Run, settings: ExportSettings, thresholds: Thresholds) -> Metadata:
    """Returns the metadata of an export.

    Args:
        run: The run.
        settings: What is exported.
        thresholds: Thresholds of non-maximum suppression.
    """
    config = run.config
    return Metadata(
        backbone=config.backbone,
        width=config.width,
        yolo=config.yolo.name,
        classes=tuple(run.classes),
        anchors=config.yolo.anchors,
        input_size=config.input_size,
        weights=digest_of(run.detector),
        batch=settings.batch,
        precision=settings.precision,
        nms=settings.nms,
        thresholds=thresholds,
        preprocessing=Preprocessing(resize=config.resize),
    )


def digest_of(detector: Detector) -> str:
    """Returns the BLAKE2b of the weights of a detector, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for variable in detector.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def export_float(run: Run, settings: ExportSettings, metadata: Metadata, path: Path) -> None:
    """Exports a run without quantization.

    Args:
        run: The run.
        settings: What is exported.
        metadata: The metadata to write.
        path: File or folder to write; must not exist.

    Raises:
        UserError: The path exists, or a package that is needed is not installed.
    """
    refuse_existing(path)
    module = import_module(f"utils.export.{settings.format}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, shared=True) as (part,):
        module.write(inference_network(run.detector), metadata, part)
