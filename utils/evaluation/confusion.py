"""The confusion matrix: how often each class is detected as each other class."""

from collections.abc import Sequence

import numpy as np

from utils.data.samples import Sample
from utils.evaluation.matching import box_iou
from utils.evaluation.settings import MATCH_IOU, SCORE_THRESHOLD
from utils.inference.detections import Detections


def confusion_matrix(
    samples: Sequence[Sample],
    detections: Sequence[Detections],
    num_classes: int,
    iou: float = MATCH_IOU,
) -> np.ndarray:
    """Counts pairs of objects and detections by their classes.

    Only detections with a score of at least `SCORE_THRESHOLD` are considered. An object and a
    detection of any class form a pair if their IoU is at least `iou`. Pairs are formed in order of
    descending IoU, and each object and each detection belongs to at most one pair. Difficult
    objects and the detections paired with them are not counted.

    Args:
        samples: Images with their ground truth.
        detections: Detections per image, in the same order.
        num_classes: Number of classes C.
        iou: Minimum IoU of a pair, 0..1.

    Returns:
        (C + 1, C + 1) counts: true class by detected class. The last row counts detections without
        an object, the last column objects without a detection.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), int)
    for sample, detected in zip(samples, detections, strict=True):
        considered = detected.scores >= SCORE_THRESHOLD
        labels = detected.labels[considered]
        ious = box_iou(sample.boxes, detected.boxes[considered])
        missed, unpaired = np.ones(len(sample.labels), bool), np.ones(len(labels), bool)
        rows, columns = np.nonzero(ious >= iou)
        for pair in np.argsort(-ious[rows, columns], kind="stable"):
            row, column = rows[pair], columns[pair]
            if missed[row] and unpaired[column]:
                missed[row] = unpaired[column] = False
                matrix[sample.labels[row], labels[column]] += not sample.difficult[row]
        missed &= ~sample.difficult
        np.add.at(matrix, (sample.labels[missed], num_classes), 1)
        np.add.at(matrix, (num_classes, labels[unpaired]), 1)
    return matrix
