import numpy as np
import tensorflow as tf

from nets.nms import suppress


def test_the_better_of_two_overlapping_boxes_is_kept_per_class():
    # The IoU of the first two is 90 / 110 = 0.818; the third overlaps neither.
    boxes = tf.constant([[[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]]])
    scores = tf.constant([[[0.9, 0.0], [0.8, 0.7], [0.1, 0.6]]])
    found = {key: value.numpy()[0] for key, value in suppress(boxes, scores, 0.5, 0.8, 5).items()}
    assert found["counts"] == 3
    np.testing.assert_allclose(found["scores"], [0.9, 0.7, 0.6, 0, 0])
    np.testing.assert_array_equal(found["labels"], [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(found["boxes"][1], [1, 0, 11, 10])

    looser = suppress(boxes, scores, 0.5, 0.85, 5)
    np.testing.assert_allclose(looser["scores"][0], [0.9, 0.8, 0.7, 0.6, 0])
    assert suppress(boxes, scores, 0.5, 0.85, 2)["counts"][0] == 2


def test_boxes_are_not_clipped():
    boxes = tf.constant([[[-5.0, -5, 500, 400]]])
    found = suppress(boxes, tf.constant([[[0.9]]]), 0.5, 0.5, 1)
    np.testing.assert_array_equal(found["boxes"].numpy()[0, 0], [-5, -5, 500, 400])


def test_boxes_of_other_classes_take_no_place():
    boxes = tf.constant([[[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]]])
    scores = tf.constant([[[0.9, 0.1, 0.0], [0.8, 0.2, 0.3], [0.7, 0.1, 0.6]]])
    found = suppress(boxes, scores, 0.15, 0.5, 2, labels=[1, 2])
    np.testing.assert_allclose(found["scores"][0], [0.6, 0.3])
    np.testing.assert_array_equal(found["labels"][0], [2, 2])
    found = suppress(boxes, scores, 0.15, 0.5, 2, labels=[1])
    np.testing.assert_array_equal(found["labels"][0, :1], [1])
    assert found["counts"][0] == 1


def test_nan_in_boxes_and_in_scores_is_marked():
    nan = float("nan")
    boxes = tf.constant([[[0.0, 0, 10, 10]], [[0, 0, nan, 10]], [[0, 0, 10, 10]]])
    scores = tf.constant([[[0.9]], [[0.9]], [[nan]]])
    found = suppress(boxes, scores, 0.5, 0.5, 1)
    assert found["is_nan"].numpy().tolist() == [False, True, True]
