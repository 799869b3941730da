"""Detectors of every backbone and version."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.backbones import list_backbones, resolve
from nets.detector import Detector
from nets.nms import suppress
from nets.versions import VERSIONS, with_anchors, with_conv
from tests.large import slow_if_large

CLASSES, BATCH = 3, 2
SIZE = (64, 96)

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(autouse=True)
def clear_networks():
    """Frees the memory of a network before the next one is built."""
    yield
    keras.backend.clear_session(free_memory=True)


def small(name):
    """Returns the smallest width of a backbone, which has the same graph but fewer weights."""
    return min(resolve(name).widths)


def batch(seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (BATCH, *SIZE, 3), dtype=np.uint8)
    corner = rng.uniform(0, 40, (BATCH, 4, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 30, (BATCH, 4, 2))], axis=-1)
    labels = np.array([[0, 1, 2, -1]] * BATCH, np.int32)
    return tf.constant(images), tf.constant(boxes, tf.float32), tf.constant(labels)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        *(slow_if_large(name, "v4") for name in list_backbones()),
        # The other versions use the same features. A narrow backbone and one of Darknet's suffice.
        *(
            (name, version)
            for name in ("mobilenetv1", "darknet_tiny")
            for version in ("v3", "v3-spp", "v3-tiny", "v4-tiny", "v4-lite")
        ),
    ],
)
def test_backbones_and_versions_train_one_step_and_reload(name, version, tmp_path):
    detector = Detector(name, CLASSES, version=version, input_size=SIZE, width=small(name))
    images, boxes, labels = batch()
    weights = detector.trainable_variables
    before = [weight.numpy() for weight in weights]
    with tf.GradientTape() as tape:  # at another size than the detector's
        losses = detector.compute_loss(images[:, :64, :64], boxes, labels)
        loss = tf.add_n(list(losses.values()))
    gradients = tape.gradient(loss, weights)
    assert all(gradient is not None for gradient in gradients), "a weight without a gradient"
    keras.optimizers.SGD(0.01).apply(gradients, weights)
    assert any((old != new.numpy()).any() for old, new in zip(before, weights, strict=True))

    expected = detector.detect(images, confidence=1e-6)
    assert expected["counts"].numpy().min() > 0
    detector.save_weights(tmp_path / "a.weights.h5")
    for variable in detector.variables:
        variable.assign(tf.ones_like(variable.value))  # faster than building another detector
    detector.load_weights(tmp_path / "a.weights.h5")
    found = detector.detect(images, confidence=1e-6)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


def test_only_training_accepts_images_of_another_size():
    detector = Detector("mobilenetv1", CLASSES, input_size=SIZE, width=0.25)
    for size in (SIZE[::-1], (32, 192), (50, 90)):
        with pytest.raises(ValueError, match=r"the detector needs \(64, 96\)"):
            detector.detect(np.zeros((1, *size, 3), np.uint8))
    _, boxes, labels = batch()
    with pytest.raises(ValueError, match="50x90: 50 is not a multiple of 32"):
        detector.compute_loss(tf.zeros((BATCH, 50, 90, 3)), boxes, labels)


def test_the_loss_on_images_of_another_size_is_that_of_a_detector_of_that_size():
    detector = Detector("shufflenetv2", CLASSES, input_size=SIZE, width=0.5)
    half = (SIZE[0] // 2 // 32 * 32, SIZE[1])
    anchors = detector.anchors * (1, half[0] / SIZE[0])  # same width, lower
    version = with_anchors(VERSIONS["v4"], anchors)
    other = Detector("shufflenetv2", CLASSES, version, input_size=half, width=0.5)
    other.set_weights(detector.get_weights())
    images, boxes, labels = batch()
    images = images[:, : half[0]]
    for term, expected in other.compute_loss(images, boxes, labels).items():
        found = detector.compute_loss(images, boxes, labels)[term]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [("mobilenetv1", 12_754_109), ("mobilenetv2", 10_872_893), ("mobilenetv3", 11_791_741)],
)
def test_v4_has_the_published_parameters(backbone, parameters):
    """Published by mobilenet-yolov4-keras for 80 classes."""
    assert Detector(backbone, 80, version="v4").count_params() == parameters


@pytest.mark.parametrize(
    ("backbone", "version", "conv", "size"),
    [
        ("darknet53", "v3", None, 248_007_048),
        ("darknet53", "v3-spp", None, 252_209_544),
        ("darknet_tiny", "v3-tiny", None, 35_434_956),
        ("cspdarknet53", "v4", "plain", 257_717_640),
        ("cspdarknet_tiny", "v4-tiny", None, 24_251_276),
    ],
)
def test_a_darknet_detector_has_the_parameters_of_its_published_file(backbone, version, conv, size):
    """Bytes of yolov3.weights etc. for 80 classes: a header of 20, then 4 per parameter."""
    version = with_conv(VERSIONS[version], conv) if conv else version
    with keras.StatelessScope(initialize_variables=False):
        detector = Detector(backbone, 80, version)
    assert detector.count_params() == (size - 20) / 4


def test_v3_has_the_parameters_of_its_topology():
    # Each convolution c -> n of kernel k has k*k*c*n weights and 4n of batch norm.
    def conv(kernel, inputs, outputs):
        return kernel**2 * inputs * outputs + 4 * outputs

    def five(inputs, n):
        return (
            conv(1, inputs, n)
            + conv(3, n, 2 * n)
            + conv(1, 2 * n, n)
            + conv(3, n, 2 * n)
            + conv(1, 2 * n, n)
        )

    n3, n4, n5 = 32, 96, 320  # MobileNetV2's channels
    neck = five(n5, n5) + conv(1, n5, n4) + five(2 * n4, n4) + conv(1, n4, n3) + five(2 * n3, n3)
    head = sum(conv(3, n, 2 * n) + (2 * n + 1) * 3 * (5 + CLASSES) for n in (n3, n4, n5))
    detector = Detector("mobilenetv2", CLASSES, version="v3", input_size=SIZE)
    assert detector.count_params() - detector.backbone.count_params() == neck + head


def test_v4_lite_has_the_parameters_of_its_topology():
    def conv1x1(inputs, outputs):
        return inputs * outputs + 4 * outputs  # with the 4 values of batch norm per channel

    def separable(channels, outputs):  # a depthwise 5x5 convolution and a 1x1 one
        return 25 * channels + 4 * channels + conv1x1(channels, outputs)

    n = 96
    features = conv1x1(32, n) + conv1x1(96, n) + conv1x1(320, n)  # MobileNetV2's channels
    pooling, down = conv1x1(4 * n, n), separable(n, n)
    fusions = 4 * (conv1x1(2 * n, n) + separable(n, n))
    head = 3 * (separable(n, 3 * n) + (3 * n + 1) * 3 * (5 + CLASSES))
    detector = Detector("mobilenetv2", CLASSES, version="v4-lite", input_size=SIZE)
    expected = features + pooling + fusions + 2 * down + head
    assert detector.count_params() - detector.backbone.count_params() == expected


@pytest.mark.parametrize(
    ("version", "channels"),
    # MobileNetV1 x0.25 has 64, 128 and 256 channels, which are those of a v3 neck.
    [("v3", (32, 64, 128)), ("v4", (16, 32, 64)), ("v4-lite", (16, 16, 16))],
)
def test_the_width_of_the_neck_is_a_factor_of_its_own(version, channels):
    version = dataclasses.replace(VERSIONS[version], neck_width=0.5)
    detector = Detector("mobilenetv1", CLASSES, version, input_size=SIZE, width=0.25)
    expansion = 3 if version.name == "v4-lite" else 2
    for level, expected in zip((3, 4, 5), channels, strict=True):
        assert detector.get_layer(f"head_p{level}_logits").input.shape[-1] == expansion * expected


@pytest.mark.parametrize(("version", "conv"), [("v3", "separable"), ("v4", "plain")])
def test_either_kind_of_convolution_works_in_either_version(version, conv):
    def depthwise(detector):
        names = [layer.name for layer in detector.layers]
        return [name for name in names if name.startswith(("neck", "head")) and "depthwise" in name]

    options = {"backbone": "mobilenetv1", "width": 0.25, "input_size": SIZE}
    other = with_conv(VERSIONS[version], conv)
    assert bool(depthwise(Detector(version=other, **options))) == (conv == "separable")
    assert bool(depthwise(Detector(version=version, **options))) == (conv != "separable")


def test_initial_biases_are_the_priors_of_objectness_and_classes():
    detector = Detector("mobilenetv1", 4, input_size=SIZE, width=0.25)
    bias = detector.get_layer("head_p3_logits").bias.numpy().reshape(3, 9)
    expected = [0.5] * 4 + [0.01] + [0.25] * 4  # one percent objectness, all classes equal
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), [expected] * 3, rtol=1e-5)
    assert (detector.get_layer("neck_p3_1_bn").beta.numpy() == 2).all()  # nearly linear at first
    assert (detector.get_layer("head_p3_pointwise_bn").beta.numpy() == 0).all()


def test_logits_are_ordered_as_the_cells_they_decode_to():
    detector = Detector("mobilenetv1", 1, version="v3", input_size=(96, 160), width=0.25)
    boxes, scores = detector.predict_boxes(np.zeros((1, 96, 160, 3), np.float32))
    assert boxes.shape == (1, (12 * 20 + 6 * 10 + 3 * 5) * 3, 4)
    assert scores.shape == (*boxes.shape[:2], 1)
    # With logits near zero the centre of a box is the centre of its cell.
    centres = (boxes[0, :, :2] + boxes[0, :, 2:]).numpy() / 2
    stride8 = centres[: 12 * 20 * 3].reshape(12, 20, 3, 2)
    columns, rows = np.meshgrid(np.arange(20) * 8 + 4, np.arange(12) * 8 + 4)
    assert np.abs(stride8[..., 0] - columns[..., None]).max() < 4
    assert np.abs(stride8[..., 1] - rows[..., None]).max() < 4


def test_training_overfits_one_image():
    """Fails if anything between pixels and boxes is wrong."""
    keras.utils.set_random_seed(0)
    tf.config.run_functions_eagerly(False)
    version = with_anchors(VERSIONS["v4-tiny"], VERSIONS["v4-tiny"].anchor_array / 4)
    detector = Detector("mobilenetv1", 2, version, input_size=(96, 96), width=0.25)
    image = np.random.default_rng(0).integers(60, 120, (96, 96, 3)).astype(np.uint8)
    image[10:40, 12:36] = (220, 30, 30)
    image[50:90, 44:92] = (30, 30, 220)
    images = tf.constant(np.stack([image] * 2))
    boxes = tf.constant([[[12.0, 10, 36, 40], [44, 50, 92, 90]]] * 2)
    labels = tf.constant([[0, 1]] * 2)
    optimizer = keras.optimizers.Adam(3e-3)
    weights = detector.trainable_variables
    optimizer.build(weights)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.add_n(list(detector.compute_loss(images, boxes, labels).values()))
        optimizer.apply(tape.gradient(loss, weights), weights)

    for _ in range(120):
        step()
    # In training mode, since the moving averages still lag behind after these few steps.
    logits = detector(tf.cast(images, tf.float32), training=True)
    found = suppress(*detector.decode(logits), 0.5, 0.3, 5)
    assert found["counts"].numpy().tolist() == [2, 2]
    order = np.argsort(found["labels"].numpy()[0, :2])
    assert found["labels"].numpy()[0][order].tolist() == [0, 1]
    np.testing.assert_allclose(found["boxes"].numpy()[0][order], boxes[0], atol=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"version": "v5"}, "choose one of v3, v3-spp, v3-tiny, v4"),
        ({"backbone": "ghostnett"}, "ghostnet"),
        ({"width": 0.3}, "width"),
        ({"input_size": (100, 100)}, "multiple"),
    ],
)
def test_an_error_names_what_does_not_exist(wrong, message):
    with pytest.raises(ValueError, match=message):
        Detector(**{"backbone": "mobilenetv1", "width": 0.25, "input_size": SIZE, **wrong})
