"""The kinds of mistakes in one image: missed, false, confused and badly placed.

The matches are those of `match_detections`. The kinds follow TIDE (Bolya et al., 2020,
arXiv:2008.08115), whose duplicates and detections of background are both `false` here.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from utils.data.samples import Sample
from utils.evaluation.matching import FALSE_POSITIVE, box_iou, match_detections
from utils.evaluation.settings import MATCH_IOU
from utils.inference.detections import Detections

Kind = Literal["missed", "false", "confused", "placed"]
NEAR_IOU = 0.1  # TIDE's background threshold: with less, a detection shows no object


@dataclass(frozen=True)
class KindOfMistake:
    """A mistake of a detector.

    Attributes:
        kind: `missed`, an object that no detection shows; `false`, a detection that shows no
            object or one that a better detection matches; `confused`, one of another class;
            `placed`, a detection whose box is too different from that of its object.
        size: How bad it is, 0..1. For a missed object, the square root of its fraction of the
            image; for `placed`, 1 - IoU; for others, the score.
        object: Index of the object that it concerns; None if there is none.
        detection: Index of the detection; None for a missed object.
    """

    kind: Kind
    size: float
    object: int | None
    detection: int | None


def confused_object(ious: np.ndarray, overlap: float, iou: float) -> int | None:
    """Returns the object of another class that a false positive shows.

    Args:
        ious: (objects,) IoU of the detection with all objects of its image, 0..1.
        overlap: The highest IoU with an object of its own class, 0..1.
        iou: Minimum IoU of a match, 0..1.

    Returns:
        The index of the object; None if the detection shows none of another class better.
    """
    return int(ious.argmax()) if ious.max(initial=0) > max(overlap, iou) else None


def find_mistakes(
    sample: Sample, detected: Detections, iou: float = MATCH_IOU
) -> list[KindOfMistake]:
    """Finds the mistakes in an image.

    Args:
        sample: The image with its ground truth; difficult objects are never missed.
        detected: The detections that are shown to people, so those above a minimum score.
        iou: Minimum IoU of a match, 0..1.
    """
    matches = match_detections([sample], [detected], iou)
    mistakes, shown = [], set()
    for row in np.flatnonzero(matches.outcome == FALSE_POSITIVE):
        index, overlap = int(matches.index[row]), float(matches.overlap[row])
        score = float(matches.score[row])
        ious = box_iou(detected.boxes[index][None], sample.boxes)[0]
        other = confused_object(ious, overlap, iou)
        if other is not None:
            mistakes.append(KindOfMistake("confused", score, other, index))
            shown.add(other)
        elif NEAR_IOU <= overlap < iou:
            same_class = sample.labels == matches.label[row]
            own = int(np.where(same_class, ious, 0).argmax())
            mistakes.append(KindOfMistake("placed", 1 - overlap, own, index))
            shown.add(own)
        else:
            mistakes.append(KindOfMistake("false", score, None, index))
    for index in np.flatnonzero(~matches.found[0] & ~sample.difficult):
        if index not in shown:
            width, height = sample.boxes[index, 2:] - sample.boxes[index, :2]
            size = min(1.0, float(width * height / (sample.width * sample.height)) ** 0.5)
            mistakes.append(KindOfMistake("missed", size, int(index), None))
    return mistakes
