"""Exports a run to one file with integer convolutions, and checks that it still detects."""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np

from nets.inference_network import inference_network
from utils.data.annotation import Sample
from utils.evaluation.evaluator import predict_samples
from utils.evaluation.metrics import evaluate
from utils.evaluation.settings import BATCH_SIZE, THRESHOLDS
from utils.export.calibration import read_calibration_set
from utils.export.formats import ANY_LOSS, ExportSettings, QuantizationSettings
from utils.export.quantizer import CalibrationSet, Quantizer
from utils.export.run_images import find_run_images, validation_samples
from utils.export.search import Accuracy, Goal, Trial, Trials, search
from utils.export.sensitivity import rank_convolutions
from utils.files import PART, refuse_existing, written_whole
from utils.inference.engines.exported import ExportedEngine
from utils.inference.engines.session import RuntimeSettings
from utils.inference.metadata import Metadata, Quantization
from utils.inference.model import load_model
from utils.inference.predictor import Predictor
from utils.run import Run
from utils.text import counted

WARM_UP_RUNS = 3
TIMED_RUNS = 30


def export_quantized(
    run: Run,
    settings: ExportSettings,
    quantization: QuantizationSettings,
    metadata: Metadata,
    path: Path,
) -> Metadata:
    """Exports a run with quantized convolutions; reports on standard error.

    Args:
        run: The run.
        settings: What is exported.
        quantization: How it is quantized.
        metadata: The metadata to write, without quantization.
        path: File or folder to write; must not exist.

    Returns:
        The metadata that were written.

    Raises:
        UserError: The path exists, a package that is needed is not installed, or there are no
            images to calibrate or to validate on.
        JobError: The loss of mAP stays above the limit, or a convolution cannot be quantized.
    """
    refuse_existing(path)
    images = find_run_images(run, quantization.data)
    measures = quantization.max_loss < ANY_LOSS
    samples = validation_samples(images, run.classes) if measures else []
    config = run.config
    canvases = read_calibration_set(images, quantization.images, config.input_size, config.resize)
    metadata = replace(metadata, quantization=Quantization(canvases.calibration))
    network = inference_network(run.detector)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The boxes that a model with non-maximum suppression drops would be missing in the mAP.
    measured = replace(metadata, nms=False)
    print(f"calibrating on {counted(len(canvases.canvases), 'image')}", file=sys.stderr)
    quantizer = import_module(f"utils.export.{settings.format}_int8").Quantizer(
        network, measured, canvases
    )
    if not measures:
        print("note: the loss of mAP is not measured (--max-loss 1)", file=sys.stderr)
        with written_whole(path, shared=True) as (part,):
            quantizer.write(metadata, part)
        return metadata

    def rank() -> list[str]:
        bits = 16 if settings.precision == "int16x8" else 8
        return [each.name for each in rank_convolutions(network, canvases.canvases, bits)]

    with tempfile.TemporaryDirectory(prefix=f"{PART}.", dir=path.parent) as folder:
        reference = _accuracy(run.predictor(THRESHOLDS, BATCH_SIZE), samples, run.classes)
        count = counted(len(samples), "validation image")
        print(f"Keras: {reference} on {count}", file=sys.stderr)
        trials = Trials(
            quantizer,
            measured,
            Path(folder),
            settings.file_name,
            lambda file: _accuracy(_predictor(file), samples, run.classes),
            Goal(reference, quantization.max_loss),
        )
        found = search(trials, rank)
        metadata = replace(metadata, quantization=found[-1].metadata.quantization)
        if len(found) > 1:
            print(_price(found, canvases), file=sys.stderr)
        _finish(quantizer, found[-1], metadata, path)
    return metadata


def _finish(quantizer: Quantizer, trial: Trial, metadata: Metadata, path: Path) -> None:
    """Moves the file that was measured to its place, or adds non-maximum suppression to it."""
    with written_whole(path, shared=True) as (part,):
        if metadata == trial.metadata:
            trial.path.replace(part)
        else:
            quantizer.write(metadata, part)


def _predictor(path: Path) -> Predictor:
    model = load_model(path, RuntimeSettings(BATCH_SIZE))
    engine = ExportedEngine(model.open(), model.metadata, THRESHOLDS)
    return Predictor(engine, stretch=model.metadata.preprocessing.resize == "stretch")


def _accuracy(predictor: Predictor, samples: Sequence[Sample], classes: Sequence[str]) -> Accuracy:
    metrics = evaluate(samples, predict_samples(predictor, samples), classes).metrics
    return Accuracy(metrics["voc"]["map"] or 0.0, metrics["coco"]["map"] or 0.0)


def _price(found: Sequence[Trial], images: CalibrationSet) -> str:
    """Describes which convolutions are in float, and how much slower that makes the file."""
    whole, partial = interleaved_ms([trial.path for trial in found], images.canvases[0])
    layers = found[-1].float_layers
    return (
        f"in float: {', '.join(layers)}\n"
        f"{partial:.1f} ms per call instead of {whole:.1f} ms with all convolutions quantized "
        f"({100 * (partial / whole - 1):+.0f}%)"
    )


def interleaved_ms(paths: Sequence[Path], canvas: np.ndarray) -> list[float]:
    """Measures the times of several models in turns, so that all of them see the same machine.

    Args:
        paths: Exported models.
        canvas: (H, W, 3) the image.

    Returns:
        Median milliseconds of a call of each network, with one image unless its batch is fixed.
    """
    sessions = [load_model(path, RuntimeSettings()).open() for path in paths]
    for session in sessions:
        session.images[:] = canvas
    times: list[list[float]] = [[] for _ in sessions]
    for turn in range(WARM_UP_RUNS + TIMED_RUNS):
        for session, seconds in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run()
            if turn >= WARM_UP_RUNS:
                seconds.append(time.perf_counter() - start)
    return [1000 * statistics.median(seconds) for seconds in times]
