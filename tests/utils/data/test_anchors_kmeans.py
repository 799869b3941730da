import numpy as np
import pytest

from nets.versions import VERSIONS
from tests.vocset import add_image
from utils.data.anchors import anchor_fit, box_sizes, kmeans_anchors, size_iou
from utils.data.annotation import read_samples
from utils.data.imagesets import ImageRef
from utils.data.samples import Samples

V3_ANCHORS = VERSIONS["v3"].anchor_array


def test_iou_by_hand():
    # 2x4 and 4x2: intersection 2x2, union 8 + 8 - 4. 2x4 inside 4x8: 8 of 32.
    iou = size_iou(np.array([[2.0, 4.0]]), np.array([[4.0, 2.0], [4.0, 8.0], [2.0, 4.0]]))
    np.testing.assert_allclose(iou, [[4 / 12, 8 / 32, 1]])


def test_fit_by_hand():
    sizes = np.array([[10.0, 10.0], [39.0, 39.0], [40.0, 10.0], [2.0, 10.0]])
    # Ratios to 10x10: 1, 3.9, 4 (too large) and 5 (too large); IoU 1, 100/1521, 0.25, 0.2.
    recall, iou = anchor_fit(sizes, np.array([[10.0, 10.0]]))
    assert recall == 0.5
    assert iou == pytest.approx((1 + 100 / 1521 + 0.25 + 0.2) / 4)


def test_fit_without_boxes_is_nan():
    assert np.isnan(anchor_fit(np.zeros((0, 2)), V3_ANCHORS)).all()


def test_clusters_are_sorted_by_area():
    rng = np.random.default_rng(0)
    centres = V3_ANCHORS.reshape(-1, 2)
    sizes = np.repeat(centres, 40, axis=0) * rng.uniform(0.97, 1.03, (360, 2))
    anchors = kmeans_anchors(rng.permutation(sizes))
    assert anchors.dtype == np.float32
    np.testing.assert_allclose(anchors, centres, rtol=0.03)


def test_the_same_seed_gives_the_same_anchors():
    sizes = np.random.default_rng(0).lognormal(4, 1, (300, 2))
    np.testing.assert_array_equal(kmeans_anchors(sizes, seed=1), kmeans_anchors(sizes, seed=1))


def test_clustered_anchors_fit_better_than_the_defaults():
    sizes = np.random.default_rng(0).lognormal(3, 0.5, (300, 2))
    assert anchor_fit(sizes, kmeans_anchors(sizes))[1] > anchor_fit(sizes, V3_ANCHORS)[1] + 0.05


@pytest.mark.parametrize("count", [1, 2, 8])
def test_fewer_boxes_than_anchors(count):
    sizes = np.arange(1, count + 1)[:, None] * [10.0, 20.0]
    anchors = kmeans_anchors(sizes)
    assert anchors.shape == (9, 2)
    assert {tuple(row) for row in anchors.tolist()} == {tuple(row) for row in sizes.tolist()}


def test_box_sizes_are_letterboxed_and_clipped(tmp_path):
    add_image(tmp_path, "x", [("a", (10, 5, 30, 45)), ("a", (60, 0, 90, 60))], (60, 80))
    samples, _ = read_samples([ImageRef(tmp_path, "x")], ["a"])
    np.testing.assert_allclose(box_sizes(samples, (416, 416)), [[104, 208], [104, 312]])
    assert box_sizes(Samples.of([]), (416, 416)).shape == (0, 2)
