import keras
import numpy as np
import pytest
from keras import layers

from nets.inference_network import convolutions_of, inference_network
from tests.exported import make_detector, random_canvases
from utils.export.sensitivity import quantized_kernel, rank_convolutions


@pytest.fixture(scope="module")
def canvases():
    return np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3), np.uint8)


def tiny_network(outlier=1.0):
    """A chain of convolutions; `outlier` scales a channel before `c`, which `c` undoes."""
    keras.utils.set_random_seed(4)
    images = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(6, 3, name="a", activation="relu")(images)
    x = layers.DepthwiseConv2D(3, name="b")(x)
    x = layers.Conv2D(9, 1, name="c")(layers.ReLU()(x))
    x = layers.Reshape((16, 9))(x * 0.02)
    near, far, scores = x[..., :2], x[..., 2:4], x[..., 4:]
    near, far = keras.ops.sigmoid(near) * 0.5, 0.5 + keras.ops.sigmoid(far) * 0.5
    outputs = {
        "boxes": layers.Concatenate(name="boxes")([near, far]),
        "scores": layers.Activation("sigmoid", name="scores")(scores),
    }
    network = keras.Model(images, outputs)
    for name in "abc":
        layer = network.get_layer(name)
        layer.bias.assign(np.linspace(0.1, 0.5, layer.bias.shape[0]))
    scale = np.float32([1, 1, outlier, 1, 1, 1])
    before, after = network.get_layer("b"), network.get_layer("c")
    before.kernel.assign(before.kernel * scale[:, None])
    before.bias.assign(before.bias * scale)
    after.kernel.assign(after.kernel / scale[:, None])
    return network


def with_integers(network, name, images):
    """Runs a network of which one convolution has rounded inputs and weights."""
    layer = network.get_layer(name)
    values = keras.Model(network.input, layer.input).predict(images, verbose=0)
    low, high = min(values.min(), 0), max(values.max(), 0)
    scale = (high - low) / 255
    zero = round(-low / scale)
    integers = np.clip(np.floor(values / scale + 0.5) + zero, 0, 255)
    weights = layer.get_weights()
    kernel = weights[0].copy()
    for channel in range(kernel.shape[2 if name == "b" else 3]):
        part = kernel[:, :, channel] if name == "b" else kernel[..., channel]
        step = np.abs(part).max() / 127
        part[...] = np.round(part / step) * step
    layer.set_weights([kernel, *weights[1:]])
    rest = keras.Model(layer.output, network.output)
    # The input of the layer is not that of a model, so the layer runs on its own.
    found = rest(layer(np.float32((integers - zero) * scale)))
    layer.set_weights(weights)
    return {key: value.numpy() for key, value in found.items()}


def overlap(a, b):
    (ax, ay, au, av), (bx, by, bu, bv) = a, b
    shared = max(0, min(au, bu) - max(ax, bx)) * max(0, min(av, bv) - max(ay, by))
    return shared / ((au - ax) * (av - ay) + (bu - bx) * (bv - by) - shared)


def error_of(found, true):
    change = np.abs(found["scores"] - true["scores"]).sum() / true["scores"].sum()
    moved = total = 0
    for index in np.ndindex(true["boxes"].shape[:2]):
        weight = true["scores"][index].max()
        moved += weight * (1 - overlap(found["boxes"][index], true["boxes"][index]))
        total += weight
    return change + moved / total


def test_errors_are_those_of_a_direct_computation(canvases):
    network = tiny_network()
    images = np.float32(canvases)
    true = network.predict(images, verbose=0)
    expected = {name: error_of(with_integers(network, name, images), true) for name in "abc"}
    found = rank_convolutions(network, canvases)
    assert found == pytest.approx(expected, rel=1e-3)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert min(found.values()) > 1e-4


def test_outlier_channel_ranks_first(canvases):
    plain, planted = tiny_network(), tiny_network(outlier=1000)
    images = np.float32(canvases)
    before, after = (each.predict(images, verbose=0) for each in (plain, planted))
    np.testing.assert_allclose(after["scores"], before["scores"], rtol=1e-4)
    errors = rank_convolutions(planted, canvases)
    assert next(iter(errors)) == "c"
    assert errors["c"] > 20 * rank_convolutions(plain, canvases)["c"]
    assert rank_convolutions(planted, canvases, 16)["c"] < 0.2 * errors["c"]


def test_kernels_are_rounded_by_channel():
    layer = layers.Conv2D(2, 1)
    layer.build((None, 4, 4, 2))
    layer.kernel.assign([[[[1.27, 0.0], [0.026, 0.0]]]])
    np.testing.assert_allclose(quantized_kernel(layer), [[[[1.27, 0.0], [0.03, 0.0]]]], rtol=1e-6)


def test_detector():
    detector = make_detector(version="v4-tiny", size=(32, 64))
    network = inference_network(detector)
    canvases = np.uint8(random_canvases(detector))
    before = [weight.copy() for weight in network.get_weights()]
    errors = rank_convolutions(network, canvases)
    assert sorted(errors) == sorted(layer.name for layer in convolutions_of(network))
    assert {"head_p4_centre", "head_p5_classes"} <= set(errors)
    assert all(0 < error < 1 for error in errors.values())
    for weight, old in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert all(len(layer._inbound_nodes) == 1 for layer in network.layers)
