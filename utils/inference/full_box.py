"""Predicts the boxes of tracked objects that become hidden behind others."""

import numpy as np
from trackers.utils.state_representations import XYXYStateEstimator

HIDDEN = 0.9  # a side shorter than this fraction is partly hidden; boxes tremble by less than 10%
DECAY = 0.99  # of the full size per frame, so that it follows an object that becomes smaller


class FullBoxEstimator(XYXYStateEstimator):
    """A Kalman filter of corners that completes boxes of partly hidden objects.

    Detectors mark the visible part of an object. While it moves behind an obstacle, the front edge
    of its box rests there and the rear edge moves on, from which a filter concludes that the object
    shrinks and slows down. It then expects the object at the wrong place, and too small, when it
    appears again. So a box that is suddenly too small gets its full size back, at the edge that is
    where the filter expects it.

    Without it, none of the objects that tests/scenes.py draws keeps its id behind a wall.
    """

    def __init__(self, bbox: np.ndarray):
        super().__init__(bbox)
        self._full = np.float64(bbox[2:] - bbox[:2])

    def update(self, bbox: np.ndarray | None) -> None:
        """Updates the filter with a detection, (4,) xyxy; None if there is none."""
        super().update(None if bbox is None else self._complete(np.float64(bbox)))

    def _complete(self, box: np.ndarray) -> np.ndarray:
        size = box[2:] - box[:2]
        self._full = np.maximum(size, DECAY * self._full)
        surprise = np.abs(box - self.state_to_bbox())
        for low, high in ((0, 2), (1, 3)):
            if size[low] >= HIDDEN * self._full[low]:
                continue
            if surprise[low] < surprise[high]:
                box[high] = box[low] + self._full[low]
            else:
                box[low] = box[high] - self._full[low]
        return box
