import numpy as np
import pytest
from keras import ops

from nets.decoder import decode_boxes, make_priors

ANCHORS = np.arange(1, 19, dtype=np.float32).reshape(3, 3, 2)


def decode(logits, priors, rows):
    some = priors.at(ops.convert_to_tensor(rows))
    return ops.convert_to_numpy(decode_boxes(ops.convert_to_tensor(logits), some))


def test_priors_are_ordered_by_level_row_column_and_anchor():
    priors = make_priors((32, 64), ANCHORS, (1.0, 1.0, 1.0))
    # 4x8, 2x4 and 1x2 cells with three anchors each: 96 + 24 + 6 rows.
    assert priors.cells.shape == (126, 2)
    np.testing.assert_array_equal(priors.cells[:4], [[0, 0], [0, 0], [0, 0], [1, 0]])
    np.testing.assert_array_equal(priors.cells[24], [0, 1])  # 8 cells of 3 anchors per row
    np.testing.assert_array_equal(priors.anchors[:3], ANCHORS[0])
    np.testing.assert_array_equal(priors.anchors[96:99], ANCHORS[1])
    np.testing.assert_array_equal(np.bincount(priors.levels), [96, 24, 6])
    np.testing.assert_array_equal(np.unique(priors.strides), [8, 16, 32])


def test_decoding_follows_the_formula():
    priors = make_priors((32, 64), ANCHORS, (1.2, 1.1, 1.05))
    logits = np.array([[0, 0, 0, 0], [100, -100, np.log(2), 0]], np.float32)
    # Row 3 is cell (1, 0) at stride 8 with anchor 1x2: its middle is (12, 4).
    # Row 122 is cell (0, 0) at stride 32 with anchor 17x18.
    boxes = decode(logits, priors, [3, 122])
    np.testing.assert_allclose(boxes[0], [11.5, 3, 12.5, 5], atol=1e-5)
    # Scaled by 1.05, the sigmoid reaches 1.025 and -0.025: centre (32.8, -0.8), size 34 x 18.
    np.testing.assert_allclose(boxes[1], [15.8, -9.8, 49.8, 8.2], atol=1e-4)


def test_huge_logits_stay_finite():
    priors = make_priors((32, 32), ANCHORS, (1.0, 1.0, 1.0))
    boxes = decode(np.full((1, 4), 1e4, np.float32), priors, [0])
    assert np.isfinite(boxes).all()
    assert boxes[0, 2] - boxes[0, 0] == pytest.approx(62.5)  # the anchor's 1 pixel times 1000/16


@pytest.mark.parametrize("size", [(100, 96), (0, 32), (32, 33)])
def test_sizes_that_are_not_multiples_of_32_are_errors(size):
    with pytest.raises(ValueError, match="multiple of 32"):
        make_priors(size, ANCHORS, (1.0, 1.0, 1.0))
