"""The mAP of a model on the validation images of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from utils.data.samples import Sample
from utils.evaluation.evaluator import predict_samples
from utils.evaluation.metrics import evaluate
from utils.inference.predictor import Predictor


@dataclass(frozen=True)
class Accuracy:
    """What a model scores, or the difference of two scores.

    Attributes:
        map50: VOC's mAP at an IoU of 0.5, 0..1; None if it is undefined.
        map: COCO's mAP, 0..1; None if it is undefined.
    """

    map50: float | None
    map: float | None

    def __sub__(self, other: "Accuracy") -> "Accuracy":
        return Accuracy(_difference(self.map50, other.map50), _difference(self.map, other.map))


def measure_accuracy(
    predictor: Predictor, samples: Sequence[Sample], classes: Sequence[str]
) -> Accuracy:
    """Scores a predictor.

    Args:
        predictor: Makes the detections.
        samples: Images with their ground truth.
        classes: Names of the classes, by label.
    """
    metrics = evaluate(samples, predict_samples(predictor, samples), classes).metrics
    return Accuracy(metrics["voc"]["map"], metrics["coco"]["map"])


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
