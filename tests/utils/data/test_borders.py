import numpy as np
import pytest

from utils.data.borders import reachable_iou
from utils.evaluation.matching import box_iou

SIZE = (60, 80)  # height and width


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 10, 30, 30), 1),
        ((0, 0, 80, 60), 1),  # the whole image
        ((-11, 10, 8, 30), 9 / 20),  # columns 0..8 of the 20 columns -11..8
        ((10, 40, 30, 99), 21 / 60),  # rows 40..60 of the 60 rows 40..99
        ((71, 51, 90, 70), 10 / 20 * 10 / 20),  # a corner
        ((-100, 10, -1, 30), 0),
        ((200, 10, 220, 30), 0),
    ],
)
def test_iou_with_the_part_inside_is_worked_out_by_hand(box, expected):
    assert reachable_iou(np.float32([box]), SIZE) == pytest.approx([expected], abs=1e-12)


def test_it_equals_the_iou_of_the_evaluation_and_no_box_inside_has_a_higher_one():
    rng = np.random.default_rng(0)
    corners = rng.integers(-40, 90, (40, 2, 2))
    corners.sort(axis=1)
    boxes = corners.reshape(-1, 4).astype(np.float32)
    overlapping = (boxes[:, 2:] >= 0).all(axis=1) & (boxes[:, :2] <= SIZE[::-1]).all(axis=1)
    boxes = boxes[overlapping]
    reachable = reachable_iou(boxes, SIZE)
    inside = np.clip(boxes, 0, SIZE[::-1] * 2)
    np.testing.assert_allclose(reachable, np.diag(box_iou(boxes, inside)), atol=1e-12)
    others = np.sort(rng.uniform(0, 1, (2000, 2, 2)) * SIZE[::-1], axis=1).reshape(-1, 4)
    assert (box_iou(boxes, others).max(axis=1) <= reachable + 1e-12).all()


def test_no_boxes_have_no_iou():
    assert reachable_iou(np.zeros((0, 4), np.float32), SIZE).shape == (0,)
