"""Non-maximum suppression in NumPy against that of the graph, which is TensorFlow's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nets.nms import suppress as suppress_in_graph
from utils.inference.suppression import suppress
from utils.inference.thresholds import Thresholds


def expected(boxes, scores, thresholds, labels=None):
    """Returns what TensorFlow keeps: boxes, scores, labels, and whether the limit is reached."""
    limits = thresholds.confidence, thresholds.iou, thresholds.max_boxes
    found = suppress_in_graph(boxes[None], scores[None], *limits, labels)
    found = {name: value.numpy()[0] for name, value in found.items()}
    count = found["counts"]
    kept = (found[name][:count] for name in ("boxes", "scores", "labels"))
    return *kept, count == thresholds.max_boxes


def assert_same(boxes, scores, thresholds, labels=None):
    found = suppress(boxes, scores, thresholds, labels)
    wanted = expected(boxes, scores, thresholds, labels)
    for ours, theirs in zip((found.boxes, found.scores, found.labels), wanted, strict=False):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    assert found.at_limit == wanted[3]


def random_predictions(seed, count, classes, integers=False):
    """Makes boxes around a few places, and scores without ties, most of them low."""
    random = np.random.default_rng(seed)
    centres = random.uniform(0, 400, (max(1, count // 8), 2))
    centres = centres[random.integers(0, len(centres), count)] + random.normal(0, 6, (count, 2))
    sides = np.exp(random.normal(3.5, 0.4, (count, 2)))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    boxes = np.float32(np.round(boxes / 4) * 4 if integers else boxes)
    scores = random.permutation(count * classes).reshape(count, classes) + 1.0
    return boxes, np.float32((scores / (count * classes)) ** 3)


@given(
    st.integers(0, 10_000),
    st.integers(1, 120),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.001, 0.3, 0.9, 1.0]),
    st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.75, 1.0]),
    st.sampled_from([1, 5, 100]),
    st.booleans(),
)
def test_same_as_in_the_graph(seed, count, classes, confidence, iou, most, integers):
    # Boxes on a grid of integers often have exactly the IoU of the threshold.
    boxes, scores = random_predictions(seed, count, classes, integers)
    assert_same(boxes, scores, Thresholds(confidence, iou, most))
    assert_same(boxes, scores, Thresholds(confidence, iou, most), labels=[classes - 1])


@pytest.mark.parametrize("most", [20, 500, 5000])
def test_same_as_in_the_graph_with_thousands_of_candidates(most):
    boxes, scores = random_predictions(1, 3000, 3)
    assert_same(boxes, scores, Thresholds(0.001, 0.5, most))


@pytest.mark.parametrize("labels", [[1], [2, 0], [0, 1, 2]])
def test_only_chosen_classes_count(labels):
    boxes, scores = random_predictions(2, 200, 3)
    assert_same(boxes, scores, Thresholds(0.01, 0.4, 10), labels)


def test_scores_at_the_threshold_are_dropped():
    boxes = np.float32([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]])
    scores = np.float32([[0.3], [np.nextafter(np.float32(0.3), 1)], [0.1]])
    thresholds = Thresholds(0.3, 0.5, 10)
    assert_same(boxes, scores, thresholds)
    assert len(suppress(boxes, scores, thresholds)) == 1


@pytest.mark.parametrize(("iou", "count"), [(1 / 3, 2), (0.3333, 1), (0.0, 1), (1.0, 2)])
def test_boxes_with_the_iou_of_the_threshold_are_kept(iou, count):
    # Two 2x1 boxes that share one of three cells.
    boxes, scores = np.float32([[0, 0, 2, 1], [1, 0, 3, 1]]), np.float32([[0.9], [0.8]])
    assert_same(boxes, scores, Thresholds(0.5, iou, 10))
    assert len(suppress(boxes, scores, Thresholds(0.5, iou, 10))) == count


def test_any_iou_is_rounded_as_in_the_graph():
    # At a threshold of exactly the IoU of two boxes, both are kept.
    random = np.random.default_rng(4)
    for _ in range(60):
        corners = np.float32(random.uniform(0, 20, (2, 2)))
        boxes = np.concatenate([corners, corners + np.float32(random.uniform(20, 90, (2, 2)))], 1)
        sides = np.minimum(*boxes[:, 2:]) - np.maximum(*boxes[:, :2])
        shared = sides[0] * sides[1]
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        iou = shared / (areas[0] + areas[1] - shared)
        scores = np.float32([[0.9], [0.8]])
        assert_same(boxes, scores, Thresholds(0.5, float(iou), 10))
        assert len(suppress(boxes, scores, Thresholds(0.5, float(iou), 10))) == 2
        below = float(np.nextafter(iou, np.float32(0)))
        assert len(suppress(boxes, scores, Thresholds(0.5, below, 10))) == 1


def test_adjacent_and_empty_boxes_never_overlap():
    boxes = np.float32([[0, 0, 5, 5], [5, 0, 10, 5], [2, 2, 2, 2], [0, 5, 5, 5], [2, 2, 2, 2]])
    scores = np.float32([[0.9], [0.8], [0.7], [0.6], [0.5]])
    assert_same(boxes, scores, Thresholds(0.1, 0.0, 10))
    assert len(suppress(boxes, scores, Thresholds(0.1, 0.0, 10))) == 5


def test_nothing_is_found_without_candidates():
    boxes, scores = random_predictions(3, 10, 2)
    assert_same(boxes, scores * 0, Thresholds())
    assert suppress(boxes, scores * 0, Thresholds()).boxes.shape == (0, 4)


def test_ties_are_in_the_order_of_predictions_and_classes():
    # TensorFlow leaves their order open.
    boxes = np.float32([[0, 0, 9, 9], [1, 0, 10, 9], [50, 0, 59, 9]])
    scores = np.full((3, 2), np.float32(0.75))
    found = suppress(boxes, scores, Thresholds(0.5, 0.5, 10))
    np.testing.assert_array_equal(found.boxes, boxes[[0, 0, 2, 2]])
    np.testing.assert_array_equal(found.labels, [0, 1, 0, 1])
    assert len(expected(boxes, scores, Thresholds(0.5, 0.5, 10))[1]) == 4


@given(st.integers(0, 10_000), st.sampled_from([3, 7, 100]))
def test_ties_of_separate_boxes_are_the_same_in_the_graph(seed, most):
    random = np.random.default_rng(seed)
    left = np.float32(np.arange(40) * 20)
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    scores = np.float32(random.integers(1, 4, (40, 1)) / 4)
    found = suppress(boxes, scores, Thresholds(0.1, 0.5, most))
    wanted = expected(boxes, scores, Thresholds(0.1, 0.5, most))
    np.testing.assert_array_equal(found.scores, wanted[1])
    if most == 100:  # otherwise some of the last ties are left out, TensorFlow chooses which
        assert {*map(tuple, found.boxes)} == {*map(tuple, wanted[0])}
