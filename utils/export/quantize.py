"""Exports a run to one file with integer convolutions, and checks that it still detects."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np

from nets.inference_network import inference_network
from utils.data.samples import Sample
from utils.errors import UserError
from utils.evaluation.settings import BATCH_SIZE, THRESHOLDS
from utils.export.accuracy import Accuracy, measure_accuracy
from utils.export.calibration import read_calibration_set
from utils.export.formats import (
    ACTIVATION_BITS,
    ANY_LOSS,
    ExportSettings,
    QuantizationSettings,
)
from utils.export.job import written_model
from utils.export.latency import median_ms
from utils.export.run_images import find_run_images, validation_samples
from utils.export.search import Goal, Trial, Trials, search
from utils.export.sensitivity import rank_convolutions
from utils.files import megabytes_of, refuse_existing
from utils.inference.engines.session import RuntimeSettings
from utils.inference.metadata import Metadata, Quantization
from utils.inference.model import load_model
from utils.inference.predictor import Predictor
from utils.parts import scratch_folder
from utils.run import Run
from utils.text import counted

ROUNDS, CALLS = 8, 4  # of the timing; calls per round


def export_quantized(
    run: Run,
    settings: ExportSettings,
    quantization: QuantizationSettings,
    metadata: Metadata,
    path: Path,
    triton: str | None = None,
) -> None:
    """Exports a run with quantized convolutions; reports on standard error.

    Args:
        run: The run.
        settings: What is exported.
        quantization: How it is quantized.
        metadata: The metadata to write, without quantization.
        path: File or folder to write; must not exist.
        triton: Text of the `config.pbtxt` to write beside it; None for none.

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
    # The boxes that a model with non-maximum suppression drops would be missing in the mAP.
    measured = replace(metadata, nms=False)
    # Both at once, so that a path that cannot be written is reported before the long part.
    with (
        written_model(path, triton) as part,
        scratch_folder(path.with_name(f"trials.{path.name}")) as folder,
    ):
        print(f"calibrating on {counted(len(canvases.canvases), 'image')}", file=sys.stderr)
        module = import_module(f"utils.export.{settings.format}_int8")
        quantizer = module.Quantizer(network, measured, canvases)
        if not measures:
            print("note: the loss of mAP is not measured (--max-loss 1)", file=sys.stderr)
            quantizer.write(metadata, part)
            return

        def measure(file: Path) -> Accuracy:
            return measure_accuracy(_predictor(file), samples, run.classes)

        def rank() -> list[str]:
            bits = ACTIVATION_BITS[settings.precision]
            return list(rank_convolutions(network, canvases.canvases, bits))

        goal = Goal(_reference(run, samples), quantization.max_loss)
        name = settings.file_name
        found = search(Trials(quantizer, measured, folder, name, measure, goal), rank)
        chosen = found[-1]
        price = _price(found, canvases.canvases[0]) if len(found) > 1 else ""
        if metadata.nms:
            quantizer.write(replace(chosen.metadata, nms=True), part)
        else:
            chosen.path.replace(part)
        print(
            f"in float: {', '.join(chosen.float_layers) or 'no convolution'}\n{price}"
            f"mAP50 lost {chosen.lost.map50:z.4f}, mAP lost {chosen.lost.map:z.4f} on "
            f"{counted(len(samples), 'validation image')}; {megabytes_of(part):.2f} MB",
            file=sys.stderr,
        )


def _reference(run: Run, samples: Sequence[Sample]) -> Accuracy:
    """Scores the run itself.

    Raises:
        UserError: Its mAP is undefined.
    """
    found = measure_accuracy(run.predictor(THRESHOLDS, BATCH_SIZE), samples, run.classes)
    count = counted(len(samples), "validation image")
    if found.map50 is None or found.map is None:
        raise UserError(
            f"mAP is undefined on the {count} of {run.path}, as all their objects are difficult: "
            "annotate more images, or export without measuring it by --max-loss 1"
        )
    print(f"Keras: mAP50 {found.map50:.4f}, mAP {found.map:.4f} on {count}", file=sys.stderr)
    return found


def _predictor(path: Path) -> Predictor:
    model = load_model(path, RuntimeSettings(BATCH_SIZE))
    return model.predictor_of(model.open(), THRESHOLDS)


def _price(found: Sequence[Trial], canvas: np.ndarray) -> str:
    """Describes in a line how much slower the convolutions in float make the file."""
    sessions = [load_model(trial.path, RuntimeSettings()).open() for trial in found]
    for session in sessions:
        session.images[:] = canvas
    functions = {index: session.run for index, session in enumerate(sessions)}
    whole, partial = median_ms(functions, ROUNDS, CALLS).values()
    return (
        f"{partial:.1f} ms per call instead of {whole:.1f} ms with all convolutions quantized "
        f"({100 * (partial / whole - 1):+.0f}%)\n"
    )
