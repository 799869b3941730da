"""Exports a run to one file."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from nets.inference_network import inference_network
from utils.export.formats import ExportSettings
from utils.export.triton import FILE
from utils.files import refuse_existing, written_whole
from utils.inference.metadata import Metadata
from utils.inference.thresholds import Thresholds
from utils.run import Run
from utils.run_metadata import describe_run


def describe(run: Run, settings: ExportSettings, thresholds: Thresholds) -> Metadata:
    """Returns the metadata of an export.

    Args:
        run: The run.
        settings: What is exported.
        thresholds: Thresholds of non-maximum suppression.
    """
    return replace(
        describe_run(run),
        batch=settings.batch,
        precision=settings.precision,
        nms=settings.nms,
        thresholds=thresholds,
    )


@contextlib.contextmanager
def written_model(path: Path, triton: str | None = None) -> Iterator[Path]:
    """Yields a temporary path that becomes the model if the block ends without an error.

    Args:
        path: File or folder to write, whose folder is created if it does not exist.
        triton: Text of the `config.pbtxt` to write beside it, in place of that of an earlier
            export; None for none. It comes before the model, so that a kill leaves no model with
            the file of another one.

    Raises:
        UserError: The path exists.
        OSError: It cannot be written.
    """
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = [] if triton is None else [path.with_name(FILE)]
    with written_whole(*beside, path, shared=True) as parts:
        if triton is not None:
            parts[0].write_text(triton, encoding="utf-8")
        yield parts[-1]


def export_float(
    run: Run, settings: ExportSettings, metadata: Metadata, path: Path, triton: str | None = None
) -> None:
    """Exports a run without quantization.

    Args:
        run: The run.
        settings: What is exported.
        metadata: The metadata to write.
        path: File or folder to write; must not exist.
        triton: Text of the `config.pbtxt` to write beside it; None for none.

    Raises:
        UserError: The path exists, or a package that is needed is not installed.
    """
    module = import_module(f"utils.export.{settings.format}")
    with written_model(path, triton) as part:
        module.write(inference_network(run.detector), metadata, part)
