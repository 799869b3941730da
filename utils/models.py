"""Opens what makes predictions: a run of train.py, or an exported model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

from utils import cli
from utils.errors import UserError
from utils.inference.engines.session import RuntimePrecision, RuntimeSettings
from utils.inference.thresholds import DEFAULT_THRESHOLDS, Thresholds

if TYPE_CHECKING:  # --help must not wait for OpenCV
    from utils.inference.predictor import Predictor


class Model(Protocol):
    """What `utils.run.Run` and `utils.inference.model.ExportedModel` have in common."""

    @property
    def path(self) -> Path:
        """The run directory, or the exported model."""
        ...

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""
        ...

    @property
    def origin(self) -> str:
        """What it is and its path, for error messages."""
        ...

    @property
    def files(self) -> list[Path]:
        """The files that determine its predictions."""
        ...

    def predictor(
        self, thresholds: Thresholds, batch_size: int = 1, labels: Sequence[int] | None = None
    ) -> "Predictor":
        """Builds a predictor.

        Args:
            thresholds: Thresholds of non-maximum suppression.
            batch_size: Images per call of the network, unless the model has a fixed number.
            labels: The classes to find; None for all.
        """
        ...


@dataclass(frozen=True)
class ModelSource:
    """Where a model is, and how its runtime uses the machine.

    Attributes:
        run: A run directory; None for the newest in logs/, unless there is a `model`.
        model: An exported model; None for a run.
        threads: Number of threads of an exported model; None for one per physical core.
        precision: Precision of its float layers; None for the fastest of the processor.

    Raises:
        UserError: There are both a run and a model, or settings of an exported model without one.
    """

    run: Path | None = None
    model: Path | None = None
    threads: int | None = None
    precision: RuntimePrecision | None = None

    def __post_init__(self) -> None:
        if self.run and self.model:
            raise UserError("--run and --model cannot be combined, remove one of them")
        for name in ("threads", "precision"):
            if getattr(self, name) and not self.model:
                raise UserError(
                    f"--{name} applies only to exported models, add --model or remove it"
                )


def add_model_flags(parser: cli.Parser) -> None:
    """Adds the flags that select a model."""
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", help="run directory (default: the newest in logs/)")
    add("--model", type=Path, metavar="FILE", help="exported model to use instead of a run")
    add(
        "--threads",
        type=cli.at_most(cli.MAX_THREADS),
        metavar="N",
        help="threads of an exported model (default: one per physical core)",
    )
    add(
        "--precision",
        choices=get_args(RuntimePrecision),
        help="precision of the float layers of an exported model, only OpenVINO has a choice "
        "(default: auto, the fastest of the processor)",
    )


def add_threshold_flags(parser: cli.Parser) -> None:
    """Adds the flags of non-maximum suppression, `--conf`, `--iou` and `--max-boxes`."""
    add, default = parser.add_argument, DEFAULT_THRESHOLDS
    add(
        "--conf",
        type=cli.fraction,
        default=default.confidence,
        help="minimum score of detections (default: %(default)s)",
    )
    add(
        "--iou",
        type=cli.fraction,
        default=default.iou,
        help="IoU threshold of NMS (default: %(default)s)",
    )
    add(
        "--max-boxes",
        type=cli.at_most(cli.MAX_BOXES),
        default=default.max_boxes,
        help="maximum number of detections per image (default: %(default)s)",
    )


def open_model(source: ModelSource) -> Model:
    """Opens a model. TensorFlow is imported only if it needs it.

    Raises:
        UserError: There is no such model or run, or it is damaged.
    """
    if source.model:
        from utils.inference.model import load_model

        settings = RuntimeSettings(threads=source.threads, precision=source.precision or "auto")
        return load_model(source.model, settings)
    cli.import_tensorflow()
    from utils.run import load_run, newest_run

    return load_run(source.run or newest_run())
