"""Runs an exported model of any format."""

from collections.abc import Mapping, Sequence

import numpy as np

from nets.versions import strides_of
from utils.errors import UserError
from utils.inference.detections import Detections, NanError
from utils.inference.engines.session import Session
from utils.inference.metadata import Metadata
from utils.inference.suppression import suppress
from utils.inference.thresholds import Thresholds


class ExportedEngine:
    """An `Engine` on the session of a runtime.

    Args:
        session: The model in its runtime.
        metadata: The metadata of the model.
        thresholds: Thresholds of non-maximum suppression. If it is part of the model, they can only
            drop more detections.
        labels: The classes to find; None for all.
    """

    def __init__(
        self,
        session: Session,
        metadata: Metadata,
        thresholds: Thresholds,
        labels: Sequence[int] | None = None,
    ):
        self.input_size = metadata.input_size
        self.canvases = session.images
        self.batch_size = len(session.images)
        self.strides = strides_of(metadata.anchors)
        self._session = session
        self._suppresses = metadata.nms
        self._thresholds = thresholds
        self._labels = labels
        height, width = metadata.input_size
        self._scale = np.array([width, height, width, height], np.float32)

    def detect(self, count: int) -> list[Detections]:
        """Finds the objects in the first `count` canvases, see `Engine`."""
        outputs = self._session.run()
        return [
            self.read({name: value[index] for name, value in outputs.items()}, index)
            for index in range(count)
        ]

    def run(self) -> Mapping[str, np.ndarray]:
        """Runs only the network on the canvases.

        Returns:
            The outputs by name, for the whole batch; the arrays are valid until the next run.
        """
        return self._session.run()

    def read(
        self, outputs: Mapping[str, np.ndarray], index: int, thresholds: Thresholds | None = None
    ) -> Detections:
        """Finds the objects in the outputs of one canvas.

        Args:
            outputs: Its part of the result of `run`.
            index: Its position in the batch, for the error.
            thresholds: Thresholds of non-maximum suppression; None for those of the engine.

        Returns:
            The detections, in pixels of the canvas.

        Raises:
            NanError: The network computes NaN for the canvas.
        """
        if np.isnan(outputs["boxes"]).any() or np.isnan(outputs["scores"]).any():
            raise NanError(index)
        kept = self._kept_by_model if self._suppresses else self._kept_by_host
        return kept(outputs, thresholds or self._thresholds)

    def best_scores(self, canvas: np.ndarray) -> np.ndarray:
        """Runs only the network, on one image, see `Engine`.

        Raises:
            UserError: Non-maximum suppression is part of the model.
        """
        if self._suppresses:
            raise UserError(
                "the scores of all predictions are needed, but the model suppresses them itself: "
                "export it without --nms"
            )
        self.canvases[0] = canvas
        scores = self._session.run()["scores"][0]
        return (scores if self._labels is None else scores[:, self._labels]).max(axis=-1)

    def forward(self, canvas: np.ndarray) -> None:
        """Runs only the network, on one image, see `Engine`."""
        self.canvases[0] = canvas
        self._session.run()

    def _kept_by_host(
        self, outputs: Mapping[str, np.ndarray], thresholds: Thresholds
    ) -> Detections:
        boxes = outputs["boxes"] * self._scale
        return suppress(boxes, outputs["scores"], thresholds, self._labels)

    def _kept_by_model(
        self, outputs: Mapping[str, np.ndarray], thresholds: Thresholds
    ) -> Detections:
        count = int(outputs["counts"])
        scores, labels = outputs["scores"][:count], outputs["labels"][:count].astype(np.int32)
        chosen = scores > thresholds.confidence
        if self._labels is not None:
            chosen &= np.isin(labels, self._labels)
        kept = np.flatnonzero(chosen)[: thresholds.max_boxes]
        at_limit = count == len(outputs["scores"]) or len(kept) == thresholds.max_boxes
        boxes = outputs["boxes"][kept] * self._scale
        return Detections(boxes.astype(np.float32), scores[kept].copy(), labels[kept], at_limit)
