import numpy as np

from utils.evaluation.matching import box_iou


def test_box_iou_includes_the_pixels_of_both_edges():
    # Two boxes of 2 x 2 pixels that share one have an IoU of 1 / 7; adjacent boxes share none.
    boxes, others = np.array([[0, 0, 1, 1]]), np.array([[1, 1, 2, 2], [2, 2, 3, 3]])
    np.testing.assert_allclose(box_iou(boxes, others), [[1 / 7, 0]])
