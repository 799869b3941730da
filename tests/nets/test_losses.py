import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from keras.utils import bounding_boxes

from nets.assigner import GroundTruth, assign
from nets.decoder import decode_boxes, make_priors
from nets.losses import complete_iou, overlaps_any, yolo_loss
from nets.versions import VERSIONS, with_iou_objectness, with_neighbours

SIZE, CLASSES = (64, 64), 3


def random_boxes(rng, shape, size=64):
    corner = rng.uniform(0, 0.6 * size, (*shape, 2))
    extent = rng.uniform(4, 0.5 * size, (*shape, 2))
    return np.concatenate([corner, corner + extent], axis=-1).astype(np.float32)


def test_complete_iou_equals_keras_and_is_1_for_equal_boxes():
    rng = np.random.default_rng(0)
    boxes, targets = random_boxes(rng, (500,)), random_boxes(rng, (500,))
    ours = complete_iou(tf.constant(boxes), tf.constant(targets)).numpy()
    keras_own = bounding_boxes.compute_ciou(boxes, targets, "xyxy").numpy()
    np.testing.assert_allclose(ours, keras_own, atol=1e-5)
    np.testing.assert_allclose(complete_iou(tf.constant(boxes), tf.constant(boxes)), 1, atol=1e-5)


@pytest.mark.parametrize("count", [7, 64, 65, 150])
def test_overlaps_any_agrees_with_the_iou_of_keras(count):
    rng = np.random.default_rng(0)
    boxes, objects = random_boxes(rng, (2, 300)), random_boxes(rng, (2, count))
    objects[1, 4:] = 0  # padding
    objects[0, 3:-1] = 0  # so that the last one counts
    nearest = bounding_boxes.compute_iou(boxes, objects, "xyxy").numpy().max(axis=-1)
    for threshold in (0.3, 0.5, 0.7):
        found = overlaps_any(tf.constant(boxes), tf.constant(objects), threshold).numpy()
        assert 0 < found.sum() < found.size
        np.testing.assert_array_equal(found, nearest > threshold)


def test_padding_overlaps_nothing():
    point = tf.zeros((1, 1, 4))
    assert not overlaps_any(point, point, 0.0).numpy().any()


def test_complete_iou_by_hand():
    # 2x2 at the origin and 2x4 one to its right: no overlap, hull 5x4, centres (1, 1), (4, 2).
    # Distance 10/41. Aspects atan(1) and atan(1/2): v = 4/pi^2 * 0.3217506^2 = 0.0419557, and
    # alpha = v / (1 - 0 + v) = 0.0402663.
    value = complete_iou(tf.constant([0.0, 0, 2, 2]), tf.constant([3.0, 0, 5, 4])).numpy()
    assert value == pytest.approx(-10 / 41 - 0.0402663 * 0.0419557, abs=1e-6)


def test_no_gradient_flows_through_the_trade_off_factor():
    box, target = tf.Variable([3.0, 4, 20, 17]), tf.constant([5.0, 5, 18, 27])
    with tf.GradientTape() as tape:
        value = complete_iou(box, target)
    gradient = tape.gradient(value, box).numpy()

    def with_constant_alpha(corners, alpha):
        x1, y1, x2, y2 = corners
        shared = max(0, min(x2, 18) - max(x1, 5)) * max(0, min(y2, 27) - max(y1, 5))
        iou = shared / ((x2 - x1) * (y2 - y1) + 13 * 22 - shared)
        hull = (max(x2, 18) - min(x1, 5)) ** 2 + (max(y2, 27) - min(y1, 5)) ** 2
        apart = ((x1 + x2 - 23) / 2) ** 2 + ((y1 + y2 - 32) / 2) ** 2
        v = 4 / math.pi**2 * (math.atan(13 / 22) - math.atan((x2 - x1) / (y2 - y1))) ** 2
        alpha = v / (1 - iou + v) if alpha is None else alpha
        return iou - apart / hull - alpha * v, alpha

    corners = [3.0, 4, 20, 17]
    _, alpha = with_constant_alpha(corners, None)
    for side in range(4):
        ahead, behind = list(corners), list(corners)
        ahead[side] += 1e-4
        behind[side] -= 1e-4
        slope = with_constant_alpha(ahead, alpha)[0] - with_constant_alpha(behind, alpha)[0]
        assert gradient[side] == pytest.approx(slope / 2e-4, abs=1e-5)


def compute_loss(logits, truth, version=VERSIONS["v4"]):
    anchors = version.anchor_array
    priors = make_priors(SIZE, anchors, version.scale_xy)
    truth = GroundTruth(*map(tf.constant, truth))
    assignment = assign(truth, anchors, SIZE, version.match_iou, version.neighbours)
    return yolo_loss(logits, truth, assignment, priors, version, SIZE)


def loss_of(logits, boxes, labels, version=VERSIONS["v4"]):
    terms = compute_loss(logits, (boxes, labels), version)
    return {name: float(value) for name, value in terms.items()}


def by_loops(logits, boxes, labels, version):
    """Computes the loss one prediction at a time, in double precision."""
    anchors = version.anchor_array
    priors = make_priors(SIZE, anchors, version.scale_xy)
    truth = GroundTruth(tf.constant(boxes), tf.constant(labels))
    assignment = assign(truth, anchors, SIZE, version.match_iou, version.neighbours)
    rows, positive, objectness = (part.numpy() for part in assignment)
    candidates_per_object = anchors.size // 2 * (3 if version.neighbours else 1)

    def cross_entropy(target, logit):
        p = 1 / (1 + math.exp(-logit))
        return -(target * math.log(p) + (1 - target) * math.log(1 - p))

    def iou(a, b):
        shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(
            0, min(a[3], b[3]) - max(a[1], b[1])
        )
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return shared / (sum(areas) - shared) if shared else 0.0

    decoded = decode_boxes(tf.constant(logits), priors).numpy()
    box = classes = objects = 0.0
    assigned = {}
    for image in range(len(logits)):
        for pair in np.flatnonzero(positive[image]):
            row, gt = rows[image, pair], pair // candidates_per_object
            assigned[image, row] = boxes[image, gt]
            box += 1 - float(complete_iou(decoded[image, row], boxes[image, gt]))
            for number in range(CLASSES):
                target = float(number == labels[image, gt])
                classes += cross_entropy(target, float(logits[image, row, 5 + number]))
        for row in range(logits.shape[1]):
            target = objectness[image, row]
            if target and version.iou_objectness:
                target = iou(decoded[image, row], assigned[image, row])
            real = boxes[image][labels[image] >= 0]
            near = max((iou(decoded[image, row], gt) for gt in real), default=0.0)
            if objectness[image, row] or near <= version.ignore_iou:
                level = priors.levels[row]
                weight = version.objectness_balance[level] / (priors.levels == level).sum()
                objects += weight * cross_entropy(target, float(logits[image, row, 4]))
    count = max(1, positive.sum())
    return {
        "box": version.box_weight * box / count,
        "class": version.class_weight * classes / count / 80,
        "objectness": version.objectness_weight * objects / len(logits) * 64 * 64 / 416**2,
    }


DENSE = with_neighbours(VERSIONS["v4"])
TRAINED = with_iou_objectness(DENSE)  # by the default recipe
VARIANTS = [*VERSIONS.values(), DENSE, TRAINED]


@pytest.mark.parametrize("version", VARIANTS)
def test_the_loss_equals_plain_loops(version):
    rng = np.random.default_rng(1)
    version = dataclasses.replace(version, ignore_iou=0.3)  # low, so that some are ignored
    # Levels of 8x8, 4x4 and 2x2 cells; tiny versions do not have the first.
    rows = 60 if "tiny" in version.name else 252
    logits = rng.normal(0, 1, (2, rows, 5 + CLASSES)).astype(np.float32)
    boxes, labels = random_boxes(rng, (2, 4)), np.array([[0, 2, 1, -1], [1, -1, -1, -1]], np.int32)
    boxes[labels < 0] = 0
    expected = by_loops(logits, boxes, labels, version)
    assert loss_of(logits, boxes, labels, version) == pytest.approx(expected, rel=1e-4)


def test_loss_and_gradient_do_not_depend_on_the_padding():
    rng = np.random.default_rng(2)
    logits = tf.constant(rng.normal(0, 1, (2, 252, 5 + CLASSES)).astype(np.float32))
    boxes, labels = random_boxes(rng, (2, 3)), np.array([[0, 2, 1], [1, 0, 2]], np.int32)
    version = dataclasses.replace(VERSIONS["v4"], ignore_iou=0.3)  # low, so that some are ignored
    results = []
    for room in (3, 8, 64, 150):
        padded = np.pad(boxes, [(0, 0), (0, room - 3), (0, 0)])
        more_labels = np.pad(labels, [(0, 0), (0, room - 3)], constant_values=-1)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            terms = compute_loss(logits, (padded, more_labels), version)
            loss = tf.add_n(list(terms.values()))
        results.append([*terms.values(), tape.gradient(loss, logits)])
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)


def test_the_objectness_loss_does_not_move_the_boxes_whose_iou_it_predicts():
    rng = np.random.default_rng(4)
    logits = tf.constant(rng.normal(0, 1, (2, 252, 5 + CLASSES)).astype(np.float32))
    truth = random_boxes(rng, (2, 3)), np.array([[0, 2, 1], [1, 0, 2]], np.int32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = compute_loss(logits, truth, TRAINED)
    gradient = tape.gradient(loss["objectness"], logits).numpy()
    moved = np.abs(gradient).max(axis=(0, 1)) > 0
    assert moved.tolist() == [False] * 4 + [True] + [False] * CLASSES


@pytest.mark.parametrize("scale", [0.0, 1e3])
def test_loss_and_gradient_are_finite_for_any_logits_and_no_objects(scale):
    rng = np.random.default_rng(3)
    logits = tf.Variable(scale * rng.normal(0, 1, (2, 252, 5 + CLASSES)).astype(np.float32))
    boxes = random_boxes(rng, (2, 3))
    for labels in (np.array([[0, 1, 2], [2, 2, -1]]), np.full((2, 3), -1)):
        with tf.GradientTape() as tape:
            terms = compute_loss(logits, (boxes, labels.astype(np.int32)), TRAINED)
            loss = tf.add_n(list(terms.values()))
        assert math.isfinite(float(loss))
        assert np.isfinite(tape.gradient(loss, logits).numpy()).all()
