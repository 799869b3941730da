import numpy as np

from tests.evaluation_sets import make_detections, make_sample
from utils.evaluation.confusion import confusion_matrix


def test_counts_equal_the_hand_worked_example():
    samples = [
        make_sample((0, 10, 10, 19, 19, 0), (1, 50, 10, 59, 19, 0), (1, 90, 10, 99, 19, 1)),
        make_sample((1, 10, 10, 19, 19, 0)),
    ]
    detections = [
        make_detections(
            (0, 0.6, 10, 10, 19, 17),  # IoU 0.8 with the first object
            (1, 0.9, 10, 10, 19, 19),  # IoU 1: forms the pair, so the one above has no object
            (1, 0.8, 90, 10, 99, 19),  # paired with a difficult object: not counted
        ),
        make_detections((1, 0.4, 10, 10, 19, 19)),  # score too low, so its object is missed
    ]
    # True class by detected class; the last row and column are the background.
    expected = [[0, 1, 0], [0, 0, 2], [1, 0, 0]]
    np.testing.assert_array_equal(confusion_matrix(samples, detections, 2), expected)
