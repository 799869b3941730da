"""Runs an exported model of any format."""

from collections.abc import Sequence

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
        for index in range(count):
            if np.isnan(outputs["boxes"][index]).any() or np.isnan(outputs["scores"][index]).any():
                raise NanError(index)
        read = self._kept_by_model if self._suppresses else self._kept_by_host
        return [
            read({name: value[index] for name, value in outputs.items()}) for index in range(count)
        ]

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

    def _kept_by_host(self, outputs: dict[str, np.ndarray]) -> Detections:
        boxes = outputs["boxes"] * self._scale
        return suppress(boxes, outputs["scores"], self._thresholds, self._labels)

    def _kept_by_model(self, outputs: dict[str, np.ndarray]) -> Detections:
        count = int(outputs["counts"])
        scores, labels = outputs["scores"][:count], outputs["labels"][:count].astype(np.int32)
        chosen = scores > self._thresholds.confidence
        if self._labels is not None:
            chosen &= np.isin(labels, self._labels)
        kept = np.flatnonzero(chosen)[: self._thresholds.max_boxes]
        at_limit = count == len(outputs["scores"]) or len(kept) == self._thresholds.max_boxes
        boxes = outputs["boxes"][kept] * self._scale
        return Detections(boxes.astype(np.float32), scores[kept].copy(), labels[kept], at_limit)
