"""Compares exported models with the run that they come from, on its validation images."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from utils.data.samples import Sample
from utils.errors import UserError
from utils.evaluation.settings import THRESHOLDS
from utils.export.accuracy import Accuracy, measure_accuracy
from utils.export.canvases import evenly_spaced, read_canvases
from utils.export.latency import median_ms
from utils.export.parity import Errors, measure_parity
from utils.files import megabytes_of
from utils.inference.engines.keras_session import KerasSession
from utils.inference.engines.session import RuntimeSettings, Session
from utils.inference.model import ExportedModel, format_of, load_model
from utils.inference.thresholds import Thresholds
from utils.run import Run, RunDirectory
from utils.run_metadata import digest_of
from utils.text import format_table

BATCH = 8
PARITY_IMAGES = 64
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
    _check_origins(models, run)
    files = [sample.image for sample in evenly_spaced(samples, PARITY_IMAGES)]
    canvases = read_canvases(files, tuple(run.config.input_size), run.config.resize)
    keras = {batch: KerasSession(run.detector, batch) for batch in CALLS}
    sessions = {name: _open(model, BATCH, "float32") for name, model in models.items()}
    compared = {name: (model, sessions[name]) for name, model in models.items()}
    errors = measure_parity(compared, keras[BATCH], canvases)
    for name, model in models.items():
        if format_of(model.path) == "openvino":  # the others have only one precision
            sessions[name] = _open(model, BATCH)
        print(f"note: {name}: {sessions[name].description}", file=sys.stderr)
    singles = {
        name: _open(model, 1) if model.metadata.batch is None else sessions[name]
        for name, model in models.items()
    }
    ms = {
        1: _milliseconds({KERAS: keras[1], **singles}, 1, canvases),
        BATCH: _milliseconds({KERAS: keras[BATCH], **sessions}, BATCH, canvases),
    }

    @cache
    def accuracy_of_keras(thresholds: Thresholds) -> Accuracy:
        return measure_accuracy(run.predictor(thresholds, BATCH), samples, run.classes)

    def row(name: str, about: tuple, error: Errors, found: Accuracy, base: Accuracy) -> Checked:
        scores = *astuple(found), *astuple(base - found)
        return Checked(
            *about, error.box, error.score, *scores, ms[1][name], 1000 * BATCH / ms[BATCH][name]
        )

    base = accuracy_of_keras(THRESHOLDS)
    size = megabytes_of(RunDirectory(run.path).best_weights)
    rows = [row(KERAS, (str(run.path), KERAS, "float32", size), Errors(0.0, 0.0), base, base)]
    for name, model in models.items():
        metadata = model.metadata
        thresholds = metadata.thresholds if metadata.nms else THRESHOLDS
        predictor = model.predictor_of(sessions[name], thresholds)
        found = measure_accuracy(predictor, samples, run.classes)
        about = (name, format_of(model.path), metadata.precision, megabytes_of(model.path))
        rows.append(row(name, about, errors[name], found, accuracy_of_keras(thresholds)))
        if metadata.nms:
            print(
                f"note: {name}: mAP of the file and of Keras with its own thresholds, --conf "
                f"{thresholds.confidence:g}, --iou {thresholds.iou:g} and --max-boxes "
                f"{thresholds.max_boxes}",
                file=sys.stderr,
            )
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


def _check_origins(models: Mapping[str, ExportedModel], run: Run) -> None:
    """Reports models of other weights.

    Raises:
        UserError: A model is of another network.
    """
    ours = (tuple(run.classes), tuple(run.config.input_size), run.config.yolo.anchors)
    weights = digest_of(run.detector)
    for name, model in models.items():
        metadata = model.metadata
        if (metadata.classes, metadata.input_size, metadata.anchors) != ours:
            raise UserError(
                f"{name} has other classes, anchors or another input size than {run.path}: it was "
                "exported from another run, remove it or specify that run"
            )
        if metadata.weights != weights:
            print(
                f"warning: {name} was exported from other weights than the current ones of "
                f"{run.path}: export it again",
                file=sys.stderr,
            )


def _open(model: ExportedModel, batch: int, precision: str = "auto") -> Session:
    settings = RuntimeSettings(batch, precision=precision)
    return ExportedModel(model.path, model.metadata, settings).open()


def _milliseconds(
    sessions: Mapping[str, Session], count: int, canvases: np.ndarray
) -> dict[str, float]:
    """Returns the median milliseconds that each network takes for a number of images."""

    def runner(session: Session) -> Callable[[], None]:
        session.images[:] = np.resize(canvases, session.images.shape)
        calls = -(-count // len(session.images))

        def run() -> None:
            for _ in range(calls):
                session.run()

        return run

    functions = {name: runner(session) for name, session in sessions.items()}
    return median_ms(functions, ROUNDS, CALLS[count])
