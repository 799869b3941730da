"""A worker of a job: an actor of Ray that predicts on one part after another."""

import json
import os
import platform
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import describe_os_error
from utils.errors import JobError, UserError
from utils.inference.job import digest_files
from utils.inference.json_lines import JsonLines
from utils.inference.runner import Runner, RunnerSettings
from utils.inference.sinks import Sink
from utils.inference.thresholds import Thresholds
from utils.models import ModelSource, open_model
from utils.ray_jobs.part_file import describe, open_part
from utils.ray_jobs.parts import Part, PartRecord

if TYPE_CHECKING:  # needs packages that only tracking requires
    from utils.inference.tracking import TrackingSettings


RECORD = "record"  # kind of a row without an error
# Kinds of rows with an error, which is raised again. `utils.cli.run` describes it in one line.
ERRORS = {each.__name__: each for each in (UserError, JobError, MemoryError)}


@dataclass(frozen=True)
class Prediction:
    """How the sources are processed.

    Attributes:
        thresholds: Thresholds of non-maximum suppression.
        batch_size: Images per batch.
        labels: The classes to find; None for all.
        every: Step between the frames of a video that are processed.
        tracking: How objects are tracked; None to not track them.
    """

    thresholds: Thresholds
    batch_size: int = 1
    labels: Sequence[int] | None = None
    every: int = 1
    tracking: "TrackingSettings | None" = None


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker needs to know, apart from its parts.

    Attributes:
        directory: Directory to which relative paths refer.
        folder: Folder of the files of records.
        model: The model.
        digest: Digest of its files, which can be others on another machine.
        prediction: How the sources are processed.
    """

    directory: Path
    folder: Path
    model: ModelSource
    digest: str
    prediction: Prediction

    @property
    def threads(self) -> int:
        """Number of threads of the network. Many workers with one each are faster than one with
        many, since they also read images and suppress boxes at the same time.
        """
        return self.model.threads or 1


class Worker:
    """Predicts on one part after another. Ray creates workers and calls them.

    The model is opened with the first part, since Ray hides errors of a constructor.

    Args:
        settings: Settings of the job.
    """

    def __init__(self, settings: WorkerSettings):
        self._settings = settings

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """Writes the file of a part; called by Ray.

        Args:
            row: The fields of a `Part`.

        Returns:
            A row for `record_of`. Errors are in it, too, since Ray adds text of its own to
            exceptions.
        """
        try:
            text = json.dumps(asdict(self.write(Part(**row))))
        except Exception as error:  # noqa: BLE001  raised again by `record_of`
            kind, text = _kind_and_text(error)
            return {"kind": kind, "text": text, "trace": traceback.format_exc()}
        return {"kind": RECORD, "text": text, "trace": ""}

    def write(self, part: Part) -> PartRecord:
        """Writes the file of a part.

        Raises:
            UserError: The model is missing or damaged.
            JobError: The model is not that of the job, or computes NaN.
            OSError: The file cannot be written.
        """
        settings = self._settings
        set_up_process(settings.directory, settings.threads)
        # The model is opened in the block, so that a worker that dies then is counted: Ray restarts
        # workers without limit.
        with open_part(settings.folder / part.name) as file:
            self._start([JsonLines(file, lambda: False)]).process(part.sources())
        return describe(file, part)

    @cached_property
    def _start(self) -> Callable[[Sequence[Sink]], Runner]:
        """Opens the model, and returns a function that returns a runner for sinks."""
        settings, how = self._settings, self._settings.prediction
        source = settings.model
        model = open_model(replace(source, threads=settings.threads) if source.model else source)
        if digest_files(model.files) != settings.digest:
            raise JobError(
                f"{model.origin} on {platform.node()} is not that of the job, copy the same files "
                "to all machines"
            )
        predictor = model.predictor(how.thresholds, how.batch_size, how.labels)
        runner = RunnerSettings(
            every=how.every,
            origin=model.origin,
            start_tracker=how.tracking and how.tracking.start,
            always_skip=True,
        )
        return partial(Runner, predictor, model.classes, settings=runner)


def record_of(row: dict[str, str]) -> PartRecord:
    """Returns what a worker has written.

    Args:
        row: What `Worker` returned.

    Raises:
        UserError: The worker found an error of the input.
        MemoryError: The worker ran out of memory.
        JobError: The worker failed.
    """
    kind, text = row["kind"], row["text"]
    if kind == RECORD:
        return PartRecord(**json.loads(text))
    error = ERRORS[kind](text)
    error.add_note(row["trace"])  # `--debug` prints it
    raise error


def _kind_and_text(error: Exception) -> tuple[str, str]:
    """Returns the kind of the row for an error, one of `ERRORS`, and its text."""
    if isinstance(error, OSError) and error.errno is not None:  # raised by the file system
        return JobError.__name__, describe_os_error(error)
    # TensorFlow's error, by name since exported models do not need TensorFlow.
    if type(error).__name__ == "ResourceExhaustedError":
        return MemoryError.__name__, ""
    for name, kind in ERRORS.items():
        if isinstance(error, kind):
            return name, str(error)
    first_line, _, _ = str(error).strip().partition("\n")
    return JobError.__name__, f"{type(error).__name__}: {first_line}"


def set_up_process(directory: Path, threads: int) -> None:
    """Prepares a process in which Ray runs a worker.

    Args:
        directory: Directory to which relative paths refer.
        threads: Number of threads of TensorFlow.
    """
    os.chdir(directory)
    # TensorFlow reads these when it is imported.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(threads)
