"""Exports a run in any format and precision."""

from pathlib import Path

from utils.export.formats import ExportSettings, QuantizationSettings
from utils.export.job import describe, export_float
from utils.inference.thresholds import Thresholds
from utils.run import Run


def export_run(
    run: Run,
    settings: ExportSettings,
    quantization: QuantizationSettings | None,
    thresholds: Thresholds,
    path: Path,
) -> None:
    """Writes the network of a run as one file or folder for another runtime.

    Args:
        run: The run.
        settings: What is exported.
        quantization: How it is quantized; None for float.
        thresholds: Thresholds of non-maximum suppression.
        path: File or folder to write; must not exist.

    Raises:
        UserError: The path exists, a package or download that is needed is missing, or the images
            of the run cannot be read.
        JobError: Quantization loses too much.
        OSError: It cannot be written.
    """
    metadata = describe(run, settings, thresholds)

    def write_model(settings: ExportSettings, path: Path, triton: str | None = None) -> None:
        if quantization:
            from utils.export.quantize import export_quantized

            export_quantized(run, settings, quantization, metadata, path, triton)
        else:
            export_float(run, settings, metadata, path, triton)

    if settings.format == "web":
        from utils.export.web import export_web

        export_web(settings, metadata, path, write_model)
    elif settings.format == "onnx":
        from utils.export.triton import config_text

        write_model(settings, path, config_text(metadata, path.name))
    else:
        write_model(settings, path)
