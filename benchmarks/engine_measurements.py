"""What `benchmarks.engines` measures, each function in a process of its own."""

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.timing import quartiles
from utils import cli

if TYPE_CHECKING:
    import numpy as np

    from utils.data.samples import Sample
    from utils.inference.engines.session import Session
    from utils.inference.predictor import Predictor
    from utils.run import Run

KERAS = "keras"
IMAGES = {1: 8, 8: 16}  # images per timed call by batch size


@dataclass(frozen=True)
class Job:
    """What is measured.

    Attributes:
        run: The run directory.
        data: The VOCdevkit; None for that of the run.
        exports: The exported models.
        rounds: Number of blocks of calls per function.
    """

    run: Path
    data: Path | None
    exports: tuple[Path, ...]
    rounds: int

    @property
    def names(self) -> list[str]:
        """Names of the rows: Keras, and the files."""
        return [KERAS, *(path.name for path in self.exports)]


def measure_memory(job: Job, name: str) -> float:
    """Returns the peak of the resident memory in MiB of finding the boxes of one image."""
    import numpy as np

    from utils.inference.thresholds import Thresholds
    from utils.models import ModelSource, open_model

    paths = {path.name: path for path in job.exports}
    source = ModelSource(model=paths[name]) if name in paths else ModelSource(run=job.run)
    open_model(source).predictor(Thresholds())([np.zeros((480, 640, 3), np.uint8)])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # in KiB on Linux


def measure_map(job: Job) -> dict[str, dict[str, float | None]]:
    """Returns the size and, on the validation images, VOC's and COCO's mAP of each file."""
    run, samples = _open(job)
    from utils.evaluation.settings import THRESHOLDS
    from utils.export.accuracy import measure_accuracy
    from utils.files import megabytes_of
    from utils.inference.engines.session import RuntimeSettings
    from utils.inference.model import load_model
    from utils.run import RunDirectory

    files = {KERAS: RunDirectory(run.path).best_weights}
    files |= {path.name: path for path in job.exports}
    result = {}
    for name, path in files.items():
        model = run if name == KERAS else load_model(path, RuntimeSettings())
        found = measure_accuracy(model.predictor(THRESHOLDS, 8), samples, run.classes)
        result[name] = {"megabytes": megabytes_of(path), "map50": found.map50, "map": found.map}
    return result


def measure_speed(job: Job, threads: int) -> dict[str, list[dict[str, object]]]:
    """Times all files in turn with a number of threads; returns a record per batch size."""
    cli.import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    run, samples = _open(job)
    result: dict[str, list[dict[str, object]]] = {name: [] for name in job.names}
    for batch in IMAGES:
        for name, speed in _measure_batch(job, run, samples, threads, batch).items():
            result[name].append({"threads": threads, "batch": batch, **speed})
    return result


def _open(job: Job) -> tuple["Run", list["Sample"]]:
    cli.import_tensorflow()
    from utils.export.run_images import find_run_images, validation_samples
    from utils.run import load_run

    run = load_run(job.run)
    return run, validation_samples(find_run_images(run, job.data), run.classes)


def _measure_batch(
    job: Job, run: "Run", samples: list["Sample"], threads: int, batch: int
) -> dict[str, dict[str, object]]:
    """Times the network alone and the whole way of each file, in milliseconds per image."""
    from utils.export.canvases import read_canvases
    from utils.export.latency import time_in_turn
    from utils.inference.engines.keras_session import KerasSession
    from utils.inference.engines.session import RuntimeSettings
    from utils.inference.model import load_model
    from utils.inference.thresholds import Thresholds

    networks: dict[str, Session] = {KERAS: KerasSession(run.detector, batch)}
    predictors: dict[str, Predictor] = {KERAS: run.predictor(Thresholds(), batch)}
    for path in job.exports:
        model = load_model(path, RuntimeSettings(batch, threads))
        networks[path.name] = model.open()
        predictors[path.name] = model.predictor_of(networks[path.name], Thresholds())
    files = [sample.image for sample in samples[:batch]]
    canvases = read_canvases(files, tuple(run.config.input_size), run.config.resize)
    functions = {}
    for name in job.names:
        functions[name, "network_ms"] = _network(networks[name], canvases, batch)
        functions[name, "file_to_boxes_ms"] = _whole_way(predictors[name], samples, batch)
    milliseconds = time_in_turn(functions, job.rounds, calls=1)
    spread = {
        key: quartiles([each / IMAGES[batch] for each in values])
        for key, values in milliseconds.items()
    }
    return {
        name: {kind: spread[name, kind] for kind in ("network_ms", "file_to_boxes_ms")}
        | {
            "ratio_to_keras": spread[KERAS, "file_to_boxes_ms"][0]
            / spread[name, "file_to_boxes_ms"][0],
            "host_share": 1 - spread[name, "network_ms"][0] / spread[name, "file_to_boxes_ms"][0],
        }
        for name in job.names
    }


def _network(session: "Session", canvases: "np.ndarray", batch: int) -> Callable[[], None]:
    """Returns a function that runs the network on `IMAGES[batch]` letterboxed images."""
    import numpy as np

    session.images[:] = np.resize(canvases, session.images.shape)
    calls = IMAGES[batch] // batch * -(-batch // len(session.images))

    def run() -> None:
        for _ in range(calls):
            session.run()

    return run


def _whole_way(predictor: "Predictor", samples: list["Sample"], batch: int) -> Callable[[], None]:
    """Returns a function that finds the boxes of `IMAGES[batch]` files.

    As in get_map.py, threads decode and resize the next images while the network runs.
    """
    from utils.evaluation.evaluator import predict_samples

    chosen = [samples[index % len(samples)] for index in range(IMAGES[batch])]
    return lambda: predict_samples(predictor, chosen, progress=False)
