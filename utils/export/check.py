"""Compares exported models with the run that they come from, on its validation images."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np

from utils.data.annotation import Sample
from utils.data.letterbox import Letterbox
from utils.data.reading import read_patiently
from utils.errors import UserError
from utils.evaluation.evaluator import predict_samples
from utils.evaluation.metrics import evaluate
from utils.evaluation.settings import THRESHOLDS
from utils.export.job import digest_of
from utils.export.keras_session import KerasSession
from utils.export.latency import time_in_turn
from utils.export.parity import Errors, measure_parity
from utils.inference.engines.exported import ExportedEngine
from utils.inference.engines.session import RuntimeSettings, Session
from utils.inference.model import ExportedModel, format_of, load_model
from utils.inference.predictor import Predictor
from utils.inference.thresholds import Thresholds
from utils.run import Run, RunDirectory
from utils.text import format_table

BATCH = 8
PARITY_IMAGES = 64  # evenly spaced over the validation images
ROUNDS, CALLS = 8, {1: 4, BATCH: 1}  # of the timing; calls per round by number of images
KERAS = "keras"


@dataclass(frozen=True)
class Checked:
    """What was measured of an exported model. The losses may be negative.

    Attributes:
        file: Path of the file or folder.
        format: Format.
        precision: Precision scheme.
        megabytes: Size in millions of bytes.
        box_error_px: Largest difference of a corner to Keras in float32, in pixels of the input,
            see `utils.export.parity`; None if no box was compared.
        score_error: Largest difference of a score to Keras in float32.
        map50: VOC's mAP on the validation images, at an IoU of 0.5; None if undefined.
        map: COCO's mAP on the validation images.
        map50_loss: How much higher VOC's mAP of Keras is, with the same thresholds.
        map_loss: How much higher COCO's mAP of Keras is.
        ms_batch1: Median milliseconds of the network for one image.
        images_per_second_batch8: Images per second of the network for eight images, in as few
            calls as its batch allows.
    """

    file: str
    format: str
    precision: str
    megabytes: float
    box_error_px: float | None
    score_error: float
    map50: float | None
    map: float | None
    map50_loss: float | None
    map_loss: float | None
    ms_batch1: float
    images_per_second_batch8: float


COLUMNS = {  # headers and formats of the table
    "file": "{}",
    "format": "{}",
    "precision": "{}",
    "MB": "{:.2f}",
    "box error, px": "{:.2g}",
    "score error": "{:.2g}",
    "mAP50": "{:.4f}",
    "mAP": "{:.4f}",
    "mAP50 lost": "{:z.4f}",
    "mAP lost": "{:z.4f}",
    "ms, batch 1": "{:.1f}",
    "images/s, batch 8": "{:.1f}",
}

Scores = tuple[float | None, float | None]  # VOC's mAP and COCO's


def check_exports(run: Run, paths: Sequence[Path], samples: Sequence[Sample]) -> list[Checked]:
    """Compares exported models with their run.

    OpenVINO computes float layers in float32 for the two errors, and in its default precision for
    mAP and times. mAP and times are measured with the default number of threads.

    Args:
        run: The run.
        paths: The exported models.
        samples: The validation images of the run.

    Returns:
        One record for Keras, whose `file` is the run, and one per model, in the same order.

    Raises:
        UserError: A model cannot be read, or is of another network than the run.
        JobError: A model computes NaN.
    """
    models = {str(path): load_model(path, RuntimeSettings()) for path in paths}
    for model in models.values():
        _check_origin(model, run)
    canvases = _canvases(run, samples)
    sessions = {name: _open(model, BATCH, "float32") for name, model in models.items()}
    compared = {name: (model, sessions[name]) for name, model in models.items()}
    errors = measure_parity(compared, KerasSession(run.detector, BATCH), canvases)
    for name, model in models.items():
        if format_of(model.path) == "openvino":  # the others have only one precision
            sessions[name] = _open(model, BATCH)
        print(f"note: {name}: {sessions[name].description}", file=sys.stderr)
    networks = {
        KERAS: {batch: KerasSession(run.detector, batch) for batch in CALLS},
        **{
            name: {1: _open(model, 1) if model.metadata.batch is None else sessions[name]}
            | {BATCH: sessions[name]}
            for name, model in models.items()
        },
    }
    milliseconds = {batch: _milliseconds(networks, batch, canvases) for batch in CALLS}
    keras_scores: dict[Thresholds, Scores] = {}

    def scores_of_keras(thresholds: Thresholds) -> Scores:
        if thresholds not in keras_scores:
            predictor = run.predictor(thresholds, BATCH)
            keras_scores[thresholds] = map_of(predictor, samples, run.classes)
        return keras_scores[thresholds]

    def row(name: str, about: tuple, error: Errors, found: Scores, expected: Scores) -> Checked:
        losses = [
            None if ours is None or theirs is None else theirs - ours
            for ours, theirs in zip(found, expected, strict=True)
        ]
        speeds = milliseconds[1][name], 1000 * BATCH / milliseconds[BATCH][name]
        return Checked(*about, error.box, error.score, *found, *losses, *speeds)

    base = scores_of_keras(THRESHOLDS)
    weights = RunDirectory(run.path).best_weights
    about = (str(run.path), KERAS, "float32", megabytes_of(weights))
    rows = [row(KERAS, about, Errors(0.0, 0.0), base, base)]
    for name, model in models.items():
        metadata = model.metadata
        thresholds = metadata.thresholds if metadata.nms else THRESHOLDS
        engine = ExportedEngine(sessions[name], metadata, thresholds)
        predictor = Predictor(engine, stretch=metadata.preprocessing.resize == "stretch")
        found = map_of(predictor, samples, run.classes)
        about = (name, format_of(model.path), metadata.precision, megabytes_of(model.path))
        rows.append(row(name, about, errors[name], found, scores_of_keras(thresholds)))
    return rows


def to_documents(rows: Sequence[Checked]) -> list[dict[str, object]]:
    """Returns the entries of the JSON document: those of exported models, without Keras."""
    return [asdict(row) for row in rows if row.format != KERAS]


def format_checked(rows: Sequence[Checked]) -> str:
    """Formats what was measured as a table, with Keras in the first row."""
    table = [list(COLUMNS)]
    for row in rows:
        cells = zip(COLUMNS.values(), astuple(row), strict=True)
        table.append(["-" if value is None else form.format(value) for form, value in cells])
    return format_table([(Path(row[0]).name, *row[1:]) for row in table])


def _check_origin(model: ExportedModel, run: Run) -> None:
    """Reports a model of other weights.

    Raises:
        UserError: It is of another network.
    """
    metadata, config = model.metadata, run.config
    ours = (tuple(run.classes), tuple(config.input_size), config.yolo.anchors)
    if (metadata.classes, metadata.input_size, metadata.anchors) != ours:
        raise UserError(
            f"{model.path} has other classes, anchors or another input size than {run.path}: it "
            "was exported from another run, remove it or specify that run"
        )
    if metadata.weights != digest_of(run.detector):
        print(
            f"warning: {model.path} was exported from other weights than the current ones of "
            f"{run.path}: export it again",
            file=sys.stderr,
        )


def _open(model: ExportedModel, batch: int, precision: str = "auto") -> Session:
    settings = RuntimeSettings(batch, precision=precision)
    return ExportedModel(model.path, model.metadata, settings).open()


def _canvases(run: Run, samples: Sequence[Sample]) -> np.ndarray:
    """Returns up to `PARITY_IMAGES` letterboxed images (N, H, W, 3) uint8."""
    count = min(PARITY_IMAGES, len(samples))
    chosen = [samples[index * len(samples) // count] for index in range(count)]
    return np.stack([_letterboxed(sample, run) for sample in chosen])


def _letterboxed(sample: Sample, run: Run) -> np.ndarray:
    size = tuple(run.config.input_size)
    image = read_patiently(sample.image, size, (sample.height, sample.width))
    return Letterbox.fit(image.shape[:2], size, run.config.resize == "stretch").apply(image)


def _milliseconds(
    networks: Mapping[str, Mapping[int, Session]], batch: int, canvases: np.ndarray
) -> dict[str, float]:
    """Returns the median milliseconds that each network takes for a number of images."""

    def runner(session: Session) -> Callable[[], None]:
        session.images[:] = np.resize(canvases, session.images.shape)
        calls = -(-batch // len(session.images))

        def run() -> None:
            for _ in range(calls):
                session.run()

        return run

    functions = {name: runner(sessions[batch]) for name, sessions in networks.items()}
    seconds = time_in_turn(functions, ROUNDS, CALLS[batch])
    return {name: 1000 * statistics.median(each) for name, each in seconds.items()}


def map_of(predictor: Predictor, samples: Sequence[Sample], classes: Sequence[str]) -> Scores:
    """Returns VOC's mAP at an IoU of 0.5 and COCO's mAP."""
    metrics = evaluate(samples, predict_samples(predictor, samples), classes).metrics
    return metrics["voc"]["map"], metrics["coco"]["map"]


def megabytes_of(path: Path) -> float:
    """Returns the size of a file, or of the files in a folder, in millions of bytes."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6
