"""Small sets of ground truth and detections without image files."""

from pathlib import Path

import numpy as np

from utils.data.samples import Sample
from utils.inference.detections import Detections


def make_sample(*objects):
    """Makes a sample from objects `(label, xmin, ymin, xmax, ymax, difficult)`."""
    table = np.array(objects, np.float32).reshape(-1, 6)
    return Sample(
        image_id="",
        image=Path(),
        boxes=table[:, 1:5],
        labels=table[:, 0].astype(np.int32),
        difficult=table[:, 5].astype(bool),
        width=500,
        height=400,
    )


def make_detections(*rows):
    """Makes detections of one image from rows `(label, score, xmin, ymin, xmax, ymax)`."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, 2:], table[:, 1], table[:, 0].astype(np.int32))


def random_set(seed, images=6, num_classes=3):
    """Makes random objects, and detections near them, far from them or of the wrong class.

    Corners are whole pixels, so that some IoUs equal the threshold. Many scores are equal. The last
    class often has no ground truth or no detections.
    """
    rng = np.random.default_rng(seed)
    samples, detections = [], []
    for _ in range(images):
        corners = rng.integers(0, 150, (rng.integers(0, 5), 2))
        boxes = np.concatenate([corners, corners + rng.integers(0, 120, corners.shape)], axis=1)
        labels = rng.integers(0, num_classes, len(boxes))
        difficult = rng.random(len(boxes)) < 0.25
        samples.append(make_sample(*np.column_stack([labels, boxes, difficult])))
        rows = []
        for _ in range(rng.integers(0, 12)):
            corner = rng.integers(0, 150, 2)
            box = np.concatenate([corner, corner + rng.integers(0, 120, 2)])
            label = rng.integers(0, num_classes - 1)
            if len(boxes) and rng.random() < 0.7:
                near = rng.integers(len(boxes))
                box = boxes[near] + rng.integers(-4, 5, 4)
                box[2:] = np.maximum(box[2:], box[:2])
                label = labels[near]
            rows.append((label, rng.integers(0, 11) / 10, *box))
        detections.append(make_detections(*rows))
    return samples, detections
