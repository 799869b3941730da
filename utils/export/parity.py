"""How far the outputs of exported models are from those of Keras."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from utils.errors import JobError
from utils.inference.detections import Detections
from utils.inference.engines.session import Session
from utils.inference.model import ExportedModel
from utils.inference.suppression import suppress

# Boxes of predictions with a lower score are not compared: they are never shown, and they may be
# huge, since a side is an exponential of a logit. Scores are always compared.
MIN_SCORE = 0.01
MIN_IOU = 0.5  # of detections that are the same object

Outputs = Mapping[str, np.ndarray]


@dataclass
class Errors:
    """The largest differences between a model and Keras.

    Attributes:
        box: Of a corner, in pixels of the input; None if no box was compared.
        score: Of a score.
    """

    box: float | None = None
    score: float = 0.0

    def add(self, box: np.ndarray, score: np.ndarray) -> None:
        """Adds differences of boxes and of scores."""
        if box.size:
            self.box = max(self.box or 0.0, float(np.abs(box).max()))
        if score.size:
            self.score = max(self.score, float(np.abs(score).max()))


def measure_parity(
    models: Mapping[str, tuple[ExportedModel, Session]], reference: Session, canvases: np.ndarray
) -> dict[str, Errors]:
    """Compares models with Keras on the same images.

    All predictions are compared; if non-maximum suppression is part of a model, its detections.

    Args:
        models: Models with their sessions, by name.
        reference: The network in Keras.
        canvases: (N, H, W, 3) uint8, letterboxed images.

    Raises:
        JobError: A model computes NaN.
    """
    errors = {name: Errors() for name in models}
    size = len(reference.images)
    for start in range(0, len(canvases), size):
        batch = canvases[start : start + size]
        expected = _run(reference, batch)
        for name, (model, session) in models.items():
            found = _run(session, batch)
            if any(np.isnan(values).any() for values in found.values()):
                raise JobError(
                    f"{model.path} computes NaN for a validation image: export it with "
                    "--precision float32"
                )
            compare = _compare_detections if model.metadata.nms else _compare_predictions
            for index in range(len(batch)):
                pair = (
                    {key: each[index] for key, each in part.items()} for part in (expected, found)
                )
                compare(*pair, model, errors[name])
    return errors


def _run(session: Session, canvases: np.ndarray) -> dict[str, np.ndarray]:
    """Runs any number of canvases in batches of the session."""
    size, parts = len(session.images), []
    for start in range(0, len(canvases), size):
        batch = canvases[start : start + size]
        session.images[: len(batch)] = batch
        outputs = session.run()
        parts.append({name: np.array(values[: len(batch)]) for name, values in outputs.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _scale(model: ExportedModel) -> np.ndarray:
    height, width = model.metadata.input_size
    return np.float32([width, height, width, height])


def _compare_predictions(
    expected: Outputs, found: Outputs, model: ExportedModel, errors: Errors
) -> None:
    compared = expected["scores"].max(axis=-1) >= MIN_SCORE
    boxes = (found["boxes"][compared] - expected["boxes"][compared]) * _scale(model)
    errors.add(boxes, found["scores"] - expected["scores"])


def _compare_detections(
    expected: Outputs, found: Outputs, model: ExportedModel, errors: Errors
) -> None:
    """Compares detections with those that the host would keep of the predictions of Keras."""
    scale, thresholds = _scale(model), model.metadata.thresholds
    ours = suppress(expected["boxes"] * scale, expected["scores"], thresholds)
    count = int(found["counts"])
    theirs = Detections(
        found["boxes"][:count] * scale, found["scores"][:count], found["labels"][:count]
    )
    pairs, alone = _match(ours, theirs)
    for one, other in pairs:
        errors.add(ours.boxes[one] - theirs.boxes[other], ours.scores[one] - theirs.scores[other])
    # The other one has dropped it, at a score that is at most the threshold.
    errors.add(np.zeros(0), np.float32(alone) - thresholds.confidence)


def _match(ours: Detections, theirs: Detections) -> tuple[list[tuple[int, int]], Sequence[float]]:
    """Pairs detections of one class, best first; returns them, and the scores of those left."""
    free, pairs, alone = list(range(len(theirs))), [], []
    for one in range(len(ours)):
        overlaps = {
            other: _iou(ours.boxes[one], theirs.boxes[other])
            for other in free
            if theirs.labels[other] == ours.labels[one]
        }
        best = max(overlaps, key=overlaps.get, default=None)
        if best is None or overlaps[best] < MIN_IOU:
            alone.append(ours.scores[one])
        else:
            free.remove(best)
            pairs.append((one, best))
    return pairs, alone + [theirs.scores[other] for other in free]


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    return shared / max(sum(areas) - shared, 1e-9)
