"""What `benchmarks.frontier` measures, each function in a process of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.frontier_points import Spread
from benchmarks.timing import quartiles
from utils import cli
from utils.errors import UserError
from utils.export.formats import ANY_LOSS, ExportSettings, QuantizationSettings

if TYPE_CHECKING:
    from utils.run import Run

# All networks are in memory at the same time, to be timed in turn: OpenVINO needs no TensorFlow.
FLOAT32 = ExportSettings("openvino")
INT8 = ExportSettings("onnx", "int8")
CALLS = 4  # timed calls per block


@dataclass(frozen=True)
class Exports:
    """The exported models of a run.

    Attributes:
        float32: OpenVINO in float32.
        int8: ONNX in INT8.
    """

    float32: Path
    int8: Path

    @classmethod
    def of(cls, run: Path) -> "Exports":
        """Returns the exports of a run directory, where export.py writes them by default."""
        return cls(*(run / "export" / settings.file_name for settings in (FLOAT32, INT8)))


def measure_run(path: Path, data: Path) -> dict[str, float]:
    """Exports a run, and scores it and its INT8 file on its validation images.

    Args:
        path: The run directory.
        data: The VOCdevkit.

    Returns:
        Fields of `Point`.

    Raises:
        UserError: mAP is undefined, or a package for exports is not installed.
        JobError: A convolution cannot be quantized.
    """
    cli.import_tensorflow()
    from summary import summarize
    from utils.evaluation.settings import BATCH_SIZE, THRESHOLDS
    from utils.export.accuracy import measure_accuracy
    from utils.export.run_images import find_run_images, validation_samples
    from utils.files import megabytes_of
    from utils.inference.engines.session import RuntimeSettings
    from utils.inference.model import load_model
    from utils.run import load_run

    run = load_run(path)
    exports = Exports.of(path)
    _export_missing(run, data, exports)
    samples = validation_samples(find_run_images(run, data), run.classes)
    model = load_model(exports.int8, RuntimeSettings())
    scores = {}
    for prefix, predicts in {"": run, "int8_": model}.items():
        found = measure_accuracy(predicts.predictor(THRESHOLDS, BATCH_SIZE), samples, run.classes)
        if found.map is None or found.map50 is None:
            raise UserError(
                f"mAP is undefined on the validation images of {path}, as all their objects are "
                "difficult: annotate more images"
            )
        scores |= {f"{prefix}map50": found.map50, f"{prefix}map": found.map}
    figures = summarize(run.detector)
    return {
        **scores,
        "gflops": figures["gflops"],
        "params": figures["params"],
        "int8_megabytes": megabytes_of(exports.int8),
    }


def _export_missing(run: "Run", data: Path, exports: Exports) -> None:
    from utils.export.run_export import export_run
    from utils.inference.thresholds import DEFAULT_THRESHOLDS

    if not exports.float32.exists():
        export_run(run, FLOAT32, None, DEFAULT_THRESHOLDS, exports.float32)
    if not exports.int8.exists():
        # With a limit, some convolutions would stay in float in some files, or the export would
        # fail. Without it, all files are of the same kind, and their mAP shows what INT8 costs.
        quantization = QuantizationSettings(data=data, max_loss=ANY_LOSS)
        export_run(run, INT8, quantization, DEFAULT_THRESHOLDS, exports.int8)


def time_networks(exports: dict[str, Exports], rounds: int) -> dict[str, dict[str, Spread]]:
    """Times the networks of all runs in turn, one image per call, in short blocks.

    Args:
        exports: The exports by the name of the run.
        rounds: Number of blocks per network.

    Returns:
        `ms` and `int8_ms`, fields of `Point`, by the name of the run.
    """
    import numpy as np

    from utils.export.latency import time_in_turn
    from utils.inference.engines.session import RuntimeSettings
    from utils.inference.model import load_model

    random = np.random.default_rng(0)
    functions = {}
    for name, export in exports.items():
        for field, path in {"ms": export.float32, "int8_ms": export.int8}.items():
            precision = "float32" if path == export.float32 else "auto"  # OpenVINO's hint only
            session = load_model(path, RuntimeSettings(precision=precision)).open()
            session.images[:] = random.integers(0, 256, session.images.shape)
            functions[name, field] = session.run
    result: dict[str, dict[str, Spread]] = {name: {} for name in exports}
    for (name, field), milliseconds in time_in_turn(functions, rounds, CALLS).items():
        result[name][field] = quartiles(milliseconds)
    return result
