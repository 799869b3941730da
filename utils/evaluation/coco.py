"""The figures of COCO, by an evaluator that gives those of pycocotools to the last digit.

It takes whole arrays, so that a set of hundreds of thousands of detections costs seconds.
"""

from collections.abc import Sequence

import numpy as np
from hotcoco import COCO, COCOeval

from utils.data.annotation import Sample
from utils.inference.detections import Detections


def coco_scores(
    samples: Sequence[Sample], detections: Sequence[Detections], num_classes: int
) -> tuple[dict[str, float | None], list[float | None]]:
    """The figures of pycocotools, and its AP for each class.

    Sizes are areas in pixels of the image: small below 32 x 32, large from 96 x 96 on.

    Returns:
        The means by name, and AP at IoU 0.5 to 0.95 by label; None where pycocotools says -1.
    """
    truth = COCO.from_arrays(
        [{"id": image} for image in range(len(samples))],
        [{"id": label, "name": str(label)} for label in range(num_classes)],
        *_coco_columns([sample.boxes for sample in samples], [sample.labels for sample in samples]),
    )
    image, label, boxes = _coco_columns(
        [found.boxes for found in detections], [found.labels for found in detections]
    )
    scores = np.concatenate([np.zeros(0), *(found.scores for found in detections)])
    result = truth.load_res(np.column_stack([image, boxes, scores, label]))
    evaluation = COCOeval(truth, result, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    # (IoU thresholds, recalls, classes, sizes, limits on detections), and the same without recalls.
    # The first size is any size, the last limit the highest; -1 stands where there is nothing.
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    means = {
        "map": precision[..., 0, -1],
        "map50": precision[0, ..., 0, -1],
        "map75": precision[5, ..., 0, -1],
        "map_small": precision[..., 1, -1],
        "map_medium": precision[..., 2, -1],
        "map_large": precision[..., 3, -1],
        "mar_1": recall[..., 0, 0],
        "mar_10": recall[..., 0, 1],
        "mar_100": recall[..., 0, 2],
    }
    of_classes = [precision[:, :, label, 0, -1] for label in range(num_classes)]
    return {name: _defined_mean(values) for name, values in means.items()}, [
        _defined_mean(values) for values in of_classes
    ]


def _coco_columns(
    boxes: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, label and box `(N, 4)` as corner and size of what all images hold."""
    image = np.repeat(np.arange(len(labels)), [len(some) for some in labels])
    label = np.concatenate([np.zeros(0, int), *labels])
    corners = np.concatenate([np.zeros((0, 4)), *boxes])
    return image, label, np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])


def _defined_mean(values: np.ndarray) -> float | None:
    defined = values[values > -1]
    return float(defined.mean()) if len(defined) else None
