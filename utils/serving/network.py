"""The network of the service: one model in the batch sizes that it needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from utils.errors import UserError
from utils.inference.detections import NanError
from utils.inference.engines.exported import ExportedEngine
from utils.inference.engines.session import Session
from utils.inference.metadata import Metadata
from utils.inference.model import ExportedModel, relaxes
from utils.inference.predictor import Predictor, Prepared, in_original
from utils.inference.thresholds import DEFAULT_THRESHOLDS, Thresholds
from utils.models import Model
from utils.serving.refusals import bad_request
from utils.serving.work import Picture, Result


@dataclass(frozen=True, eq=False)
class Network:
    """A model that is ready to run.

    Attributes:
        predictors: One per batch size, by this size.
        metadata: What the model says about itself.
        runtime: Runtime, its version and its settings, in words.
    """

    predictors: Mapping[int, Predictor]
    metadata: Metadata
    runtime: str

    @property
    def max_batch(self) -> int:
        """Maximum number of images per call."""
        return max(self.predictors)

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of requests that set none."""
        return self.metadata.thresholds if self.metadata.nms else DEFAULT_THRESHOLDS

    def check_thresholds(self, wanted: Thresholds) -> None:
        """Checks that the model can find all detections of some thresholds.

        Raises:
            Refusal: It suppresses boxes itself, with thresholds that do not allow it.
        """
        baked = self.metadata.thresholds
        if self.metadata.nms and relaxes(wanted, baked):
            raise bad_request(
                f"the model suppresses boxes itself, with conf {baked.confidence:g}, iou "
                f"{baked.iou:g} and max_boxes {baked.max_boxes}: a request may raise conf, lower "
                "max_boxes, and cannot change iou"
            )

    def prepare(self, image: np.ndarray) -> Prepared:
        """Resizes an image RGB uint8 (h, w, 3) for `run`; threads may do this at the same time."""
        return next(iter(self.predictors.values())).prepare(image)

    def run(self, pictures: Sequence[Picture]) -> list[Result | NanError]:
        """Computes the results of at most `max_batch` pictures, in one call of the network.

        Returns:
            The detections of each picture, in pixels of its image, or copies of the outputs of the
            network for it; an error for those for which the network computes NaN.
        """
        size = min(size for size in self.predictors if size >= len(pictures))
        engine = self.predictors[size].engine
        for picture, canvas in zip(pictures, engine.canvases, strict=False):
            if isinstance(picture.pixels, Prepared):
                picture.pixels.fit.place(picture.pixels.pixels, canvas)
            else:
                canvas[:] = picture.pixels
        outputs = engine.run()
        return [
            _read(engine, {name: value[index] for name, value in outputs.items()}, index, picture)
            for index, picture in enumerate(pictures)
        ]

    def warm_up(self) -> None:
        """Runs every batch size once, since the first call of a runtime is slow.

        Raises:
            UserError: The network computes NaN.
        """
        height, width = self.metadata.input_size
        grey = np.full((height, width, 3), 128, np.uint8)
        for size in self.predictors:
            picture = Picture("", self.prepare(grey), self.thresholds)
            for result in self.run([picture] * size):
                if isinstance(result, NanError):
                    raise UserError(
                        "the network computes NaN for a grey image: its weights are damaged or "
                        "training has diverged, specify another run or model"
                    )


def _read(
    engine: ExportedEngine, outputs: Mapping[str, np.ndarray], index: int, picture: Picture
) -> Result | NanError:
    if picture.thresholds is None:
        copies = {name: np.array(value) for name, value in outputs.items()}
        return NanError(index) if any(np.isnan(each).any() for each in copies.values()) else copies
    try:
        return in_original(picture.pixels.fit, engine.read(outputs, index, picture.thresholds))
    except NanError as error:
        return error


def open_network(model: Model, max_batch: int) -> Network:
    """Loads a model into its runtime, for all batch sizes.

    Args:
        model: A run or an exported model.
        max_batch: Maximum number of images per call, unless the model has a fixed number.

    Raises:
        UserError: The model cannot be loaded.
    """
    if isinstance(model, ExportedModel):
        metadata, fixed = model.metadata, model.metadata.batch
        sessions = [
            replace(model, settings=replace(model.settings, batch_size=size)).open()
            for size in ([fixed] if fixed else batch_sizes(max_batch))
        ]
        return _network(sessions, metadata)
    from utils.inference.engines.keras_session import KerasSession
    from utils.run_metadata import describe_run

    sessions = [KerasSession(model.detector, size) for size in batch_sizes(max_batch)]
    return _network(sessions, describe_run(model))


def batch_sizes(largest: int) -> list[int]:
    """Returns the powers of two below `largest`, and `largest`.

    Runtimes compute the whole batch, however few images are in it; so a batch is run in the
    smallest size that holds it.
    """
    return [*(2**power for power in range((largest - 1).bit_length())), largest]


def _network(sessions: Iterable[Session], metadata: Metadata) -> Network:
    sessions = list(sessions)
    stretch = metadata.preprocessing.resize == "stretch"
    predictors = {
        len(session.images): Predictor(
            ExportedEngine(session, metadata, DEFAULT_THRESHOLDS), stretch=stretch
        )
        for session in sessions
    }
    return Network(predictors, metadata, sessions[0].description)
