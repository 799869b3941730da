"""One pass over the validation set, which yields the detections and the loss.

Workers that train together share out the batches of the pass.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nets.assigner import GroundTruth
from nets.detector import Detector
from nets.nms import suppress
from utils.data.dataset import places_for
from utils.data.images import reduction
from utils.data.letterbox import Letterbox
from utils.data.samples import Sample
from utils.data.training_images import largest
from utils.evaluation.evaluator import predict_samples
from utils.evaluation.settings import BATCH_SIZE, THRESHOLDS
from utils.inference.detections import Detections
from utils.inference.engines.keras import KerasEngine, to_detections
from utils.inference.predictor import Predictor
from utils.training.shared_results import PassResult, add, from_bytes, joined, to_bytes
from utils.training.workers import Workers

# Logit of an image that only fills up a batch. Its objectness and loss are 0 in float32.
CERTAINLY_NOT = -200.0


class ValidationPass(Predictor):
    """A predictor that also computes the loss of the images, from the same logits.

    The loss is that of the whole set as one batch, so it does not depend on the order of the images
    or on how they are divided into batches.
    """

    def __init__(
        self, detector: Detector, samples: Sequence[Sample], workers: Workers | None = None
    ) -> None:
        """Initializes the pass.

        Args:
            detector: The detector, whose current weights are used in each pass.
            samples: The validation set, which determines the maximum number of boxes per image.
            workers: The processes that share out the batches; None for this one alone.
        """
        super().__init__(KerasEngine(detector, THRESHOLDS, BATCH_SIZE))
        most = max((len(sample.boxes) for sample in samples), default=0)
        self._places = places_for(most)
        self._coming: list[Sample] = []
        self._workers = workers or Workers()

        def detect(
            images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, count: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            logits = detector(tf.cast(images, tf.float32), training=False)
            found = suppress(
                *detector.decode(logits),
                THRESHOLDS.confidence,
                THRESHOLDS.iou,
                THRESHOLDS.max_boxes,
            )
            is_image = tf.range(BATCH_SIZE)[:, None, None] < count
            logits = tf.where(is_image, tf.cast(logits, tf.float32), CERTAINLY_NOT)
            terms, positives = detector.loss_of(logits, GroundTruth(boxes, labels), self.input_size)
            return {**found, **terms, "positives": positives}

        signature = [
            tf.TensorSpec((BATCH_SIZE, *self.input_size, 3), tf.uint8),
            tf.TensorSpec((BATCH_SIZE, self._places, 4), tf.float32),
            tf.TensorSpec((BATCH_SIZE, self._places), tf.int32),
            tf.TensorSpec((), tf.int32),
        ]
        self._detect_and_compare = tf.function(detect, input_signature=signature, autograph=False)

    def measure(self, samples: Sequence[Sample]) -> tuple[list[Detections], dict[str, float]]:
        """Runs the pass, in which each worker takes some of the batches.

        Args:
            samples: Samples to validate on, at least one.

        Returns:
            The detections of each sample, in pixels of the original image, and the loss terms, on
            all workers.
        """
        batches = self._workers.rows(-(-len(samples) // BATCH_SIZE))
        own = samples[batches.start * BATCH_SIZE : batches.stop * BATCH_SIZE]
        result = self._run_on(own)
        if self._workers.count > 1:
            result = joined([*map(from_bytes, self._workers.gather(to_bytes(result)))])
        positives = max(1.0, result.positives)
        losses = {
            term: total / (len(samples) if term == "objectness" else positives)
            for term, total in result.sums.items()
        }
        return result.found, losses

    def rounds(self, images: int) -> int:
        """Returns how many batches follow one another in a pass over a number of images."""
        return -(-images // (BATCH_SIZE * self._workers.count))

    def _run_on(self, samples: Sequence[Sample]) -> PassResult:
        self._coming = list(samples)
        self._sums: dict[str, float] = {}
        self._positives = 0.0
        found = predict_samples(self, samples, progress=False)
        return PassResult(found, self._sums, self._positives)

    def _run(self, fits: Sequence[Letterbox]) -> list[Detections]:
        batch, self._coming = self._coming[: len(fits)], self._coming[len(fits) :]
        boxes = np.zeros((BATCH_SIZE, self._places, 4), np.float32)
        labels = np.full((BATCH_SIZE, self._places), -1, np.int32)
        for row, (sample, fit) in enumerate(zip(batch, fits, strict=True)):
            factor = reduction((sample.height, sample.width), self.input_size)
            placed = fit.forward(sample.boxes / factor)
            kept = largest(placed, self._places)  # as in training
            boxes[row, : len(kept)] = placed[kept]
            labels[row, : len(kept)] = sample.labels[kept]
        result = self._detect_and_compare(self.engine.canvases, boxes, labels, len(batch))
        positives = float(result.pop("positives"))
        self._positives += positives
        for term in ("box", "objectness", "class"):
            # The loss divides by the positives and by the images of the batch.
            counted = BATCH_SIZE if term == "objectness" else max(1.0, positives)
            add(self._sums, {term: float(result.pop(term)) * counted})
        return to_detections(result, len(fits), THRESHOLDS.max_boxes)
