"""The metrics of COCO, computed by hotcoco, which gives exactly the results of pycocotools.

hotcoco accepts whole arrays, so hundreds of thousands of detections take only seconds.
"""

from collections.abc import Sequence

import numpy as np
from hotcoco import COCO, COCOeval

from utils.data.samples import Sample
from utils.inference.detections import Detections


def coco_scores(
    samples: Sequence[Sample], detections: Sequence[Detections], num_classes: int
) -> tuple[dict[str, float | None], list[float | None]]:
    """Computes the metrics of pycocotools, and its AP of each class.

    Of the detections, only the 100 with the highest scores per image and class count. Boxes are
    used as they are, even beyond the image.

    Objects are small if their area is below 32 x 32 pixels of the image, and large from 96 x 96 on.
    Crowds need not be found, and detections in them are ignored.

    Args:
        samples: Images with their ground truth.
        detections: Detections per image, in the same order.
        num_classes: Number of classes.

    Returns:
        The means by name, and AP at IoU 0.5 to 0.95 by label; None where pycocotools returns -1.
    """
    ground_truth = COCO.from_arrays(
        [{"id": image} for image in range(len(samples))],
        [{"id": label, "name": str(label)} for label in range(num_classes)],
        *_coco_columns([sample.boxes for sample in samples], [sample.labels for sample in samples]),
        iscrowd=np.concatenate([np.zeros(0, bool), *(sample.crowd for sample in samples)]),
    )
    image, label, boxes = _coco_columns(
        [detected.boxes for detected in detections], [detected.labels for detected in detections]
    )
    scores = np.concatenate([np.zeros(0), *(detected.scores for detected in detections)])
    result = ground_truth.load_res(np.column_stack([image, boxes, scores, label]))
    evaluation = COCOeval(ground_truth, result, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    # The axes of precision are IoU thresholds, recalls, classes, area ranges and limits on
    # detections; those of recall are the same without recalls. The first area range is "all", the
    # last limit is the highest. Undefined entries are -1.
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
    per_class = [precision[:, :, label, 0, -1] for label in range(num_classes)]
    return {name: _defined_mean(values) for name, values in means.items()}, [
        _defined_mean(values) for values in per_class
    ]


def _coco_columns(
    boxes: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joins the boxes of all images: image (N,), label (N,) and box (N, 4) as x, y, w, h."""
    image = np.repeat(np.arange(len(labels)), [len(image_labels) for image_labels in labels])
    label = np.concatenate([np.zeros(0, int), *labels])
    corners = np.concatenate([np.zeros((0, 4)), *boxes])
    return image, label, np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])


def _defined_mean(values: np.ndarray) -> float | None:
    defined = values[values > -1]
    return float(defined.mean()) if len(defined) else None
