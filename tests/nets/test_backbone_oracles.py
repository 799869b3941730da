"""Backbones against independent implementations with the same random weights.

The reference for the convention "keras" is keras.applications; for "timm" and "torchvision", it is
a network of plain torch functions.
"""

from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from keras import applications
from keras.src.applications import efficientnet

from nets.backbones import build_backbone, resolve
from tests.large import slow_if_large

TOLERANCE = 1e-4

MOBILENETS = {
    # function in keras.applications, and layers whose outputs are the features
    "mobilenetv1": (
        applications.MobileNet,
        ("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"),
    ),
    "mobilenetv2": (
        applications.MobileNetV2,
        ("block_5_add", "block_12_add", "block_16_project_BN"),
    ),
    "mobilenetv3_large": (
        partial(applications.MobileNetV3Large, include_preprocessing=False),
        ("expanded_conv_5_add", "expanded_conv_11_add", "expanded_conv_14_add"),
    ),
    "mobilenetv3_small": (
        partial(applications.MobileNetV3Small, include_preprocessing=False),
        ("expanded_conv_2_add", "expanded_conv_7_add", "expanded_conv_10_add"),
    ),
}
EFFICIENTNETS = {
    # the last blocks of stages 3, 5 and 7
    "efficientnet_lite0": ("3b", "5c", "7a"),
    "efficientnetb0": ("3b", "5c", "7a"),
    "efficientnetb1": ("3c", "5d", "7b"),
    "efficientnetb2": ("3c", "5d", "7b"),
    "efficientnetb3": ("3c", "5e", "7b"),
    "efficientnetb4": ("3d", "5f", "7b"),
    "efficientnetb5": ("3e", "5g", "7c"),
    "efficientnetb6": ("3f", "5h", "7c"),
    "efficientnetb7": ("3g", "5j", "7d"),
}
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])


@pytest.fixture(autouse=True)
def without_values():
    """Builds models without weight values, which is five times faster; `run` passes the values."""
    with keras.StatelessScope(initialize_variables=False):
        yield


def imagenet_scale(pixels):
    return (pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD


def images(height, width):
    rng = np.random.default_rng(height + width)
    return rng.uniform(0, 255, (1, height, width, 3)).astype("float32")


def random_weights(model):
    """Returns values by (layer, index) for which features stay of the order of 1."""
    rng = np.random.default_rng(0)

    def draw(variable):
        if variable.name in ("gamma", "moving_variance"):
            return rng.uniform(0.5, 1.5, variable.shape).astype("float32")
        std = 0.3
        if variable.name == "kernel":
            # A depthwise kernel (k, k, channels, 1) reads one channel, any other reads all.
            depthwise = variable.shape[-1] == 1
            std = np.prod(variable.shape[:2] if depthwise else variable.shape[:-1]) ** -0.5
        return rng.standard_normal(variable.shape, "float32") * np.float32(std)

    return {
        (layer.name, index): draw(variable)
        for layer in model.layers
        for index, variable in enumerate(layer.weights)
    }


def run(model, weights, inputs):
    """Returns outputs of `model` with the given weights, which must contain all of its layers."""
    values = [
        (variable, weights[layer.name, index])
        for layer in model.layers
        for index, variable in enumerate(layer.weights)
    ]
    with keras.StatelessScope(state_mapping=values):
        return [np.asarray(output) for output in model(inputs)]


def assert_same_features(name, width, source, scale, sizes):
    """Compares the features with those of `source`, which takes pixels scaled by `scale`."""
    weights = random_weights(source)
    for size in sizes:
        pixels = images(*size)
        ours = run(build_backbone(name, (*size, 3), width), weights, pixels)
        theirs = run(source, weights, scale(pixels))
        for feature, expected in zip(ours, theirs, strict=True):
            assert 0.03 < expected.std() < 30, "features too small or too large to compare"
            np.testing.assert_allclose(feature, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("name", "width"), [(name, width) for name in MOBILENETS for width in resolve(name).widths]
)
def test_mobilenets_equal_keras_applications(name, width):
    build, taps = MOBILENETS[name]
    source = build((None, None, 3), width, include_top=False, weights=None)
    source = keras.Model(source.input, [source.get_layer(tap).output for tap in taps])
    sizes = [(416, 416), (160, 96)] if width == 1 else [(160, 96)]
    assert_same_features(name, width, source, lambda x: x / 127.5 - 1, sizes)


@pytest.mark.parametrize("name", [slow_if_large(name) for name in EFFICIENTNETS])
def test_efficientnets_equal_keras_applications(name):
    options = {"include_top": False, "weights": None, "input_shape": (None, None, 3)}
    if name == "efficientnet_lite0":  # B0 without squeeze and excitation and without swish
        blocks = [block | {"se_ratio": 0} for block in efficientnet.DEFAULT_BLOCKS_ARGS]
        source = efficientnet.EfficientNet(
            1.0, 1.0, 224, activation="relu6", blocks_args=blocks, **options
        )
    else:
        source = getattr(applications, f"EfficientNetB{name[-1]}")(**options)
    # The only block of a stage has no shortcut.
    taps = [f"block{b}_project_bn" if b == "7a" else f"block{b}_add" for b in EFFICIENTNETS[name]]
    source = keras.Model(
        source.get_layer("stem_conv_pad").input, [source.get_layer(tap).output for tap in taps]
    )

    assert_same_features(name, 1.0, source, imagenet_scale, [(416, 416), (160, 96)])


def test_efficientnet_scales_as_the_imagenet_weights_of_keras_expect(monkeypatch):
    """With weights="imagenet" only, Keras adds a second scaling to the graph."""
    monkeypatch.setattr(
        "keras.src.applications.efficientnet.file_utils.get_file", lambda *args, **kwargs: ""
    )
    monkeypatch.setattr(keras.Model, "load_weights", lambda *args, **kwargs: None)
    source = applications.EfficientNetB0(include_top=False, weights="imagenet")
    first, second = (x for x in source.layers if isinstance(x, keras.layers.Rescaling))
    pixels = images(32, 32)
    # The file's Normalization has ImageNet's standard deviation as variance, see CONVENTIONS.
    normalized = (pixels * first.scale - IMAGENET_MEAN) / np.sqrt(IMAGENET_STD)
    backbone = build_backbone("efficientnetb0", (32, 32, 3))
    scaled = keras.Model(backbone.input, backbone.get_layer("scaling").output)
    np.testing.assert_allclose(scaled(pixels), normalized * second.scale, atol=1e-5)


class Torch:
    """A network in torch.nn.functional with the weights of a backbone.

    It follows torchvision and timm, whose tensors have the names of our layers in GhostNet and
    ShuffleNetV2. Padding, epsilon and the order of layers are taken only from these libraries.
    """

    def __init__(self, weights):
        self.torch = pytest.importorskip("torch")
        self.functional = self.torch.nn.functional
        self.weights = weights

    def tensor(self, name, index):
        return self.torch.from_numpy(self.weights[name, index])

    def conv(self, x, name, stride=1):
        kernel = self.tensor(name, 0)
        depthwise = kernel.shape[-1] == 1
        kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
        bias = self.tensor(name, 1) if (name, 1) in self.weights else None
        return self.functional.conv2d(
            x,
            kernel,
            bias,
            stride,
            padding=kernel.shape[-1] // 2,
            groups=len(kernel) if depthwise else 1,
        )

    def conv_bn(self, x, conv, bn, stride=1):
        gamma, beta, mean, variance = (self.tensor(bn, index) for index in range(4))
        x = self.conv(x, conv, stride)
        return self.functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)


def torch_mobilenetv2(net, x):
    relu6 = net.functional.relu6
    x = relu6(net.conv_bn(x, "Conv1", "bn_Conv1", 2))
    features = []
    for index in range(17):
        name = f"block_{index}" if index else "expanded_conv"
        inputs, stride = x, 2 if index in (1, 3, 6, 13) else 1
        if index:
            x = relu6(net.conv_bn(x, f"{name}_expand", f"{name}_expand_BN"))
        x = relu6(net.conv_bn(x, f"{name}_depthwise", f"{name}_depthwise_BN", stride))
        x = net.conv_bn(x, f"{name}_project", f"{name}_project_BN")
        x = x + inputs if x.shape == inputs.shape else x
        features.append(x)
    return features[5], features[12], features[16]


def torch_ghostnet(net, x):
    relu, identity = net.functional.relu, lambda x: x

    def ghost(x, name, activation):
        primary, cheap = f"{name}.primary_conv", f"{name}.cheap_operation"
        x = activation(net.conv_bn(x, f"{primary}.0", f"{primary}.1"))
        ghosts = activation(net.conv_bn(x, f"{cheap}.0", f"{cheap}.1"))
        return net.torch.cat([x, ghosts], dim=1)

    x = relu(net.conv_bn(x, "conv_stem", "bn1", 2))
    features = []
    for stage, repeats in enumerate((1, 1, 1, 1, 1, 1, 5, 1, 4)):
        for block in range(repeats):
            name, inputs = f"blocks.{stage}.{block}", x
            stride = 2 if stage in (1, 3, 5, 7) else 1
            x = ghost(x, f"{name}.ghost1", relu)
            if stride == 2:
                x = net.conv_bn(x, f"{name}.conv_dw", f"{name}.bn_dw", 2)
            if (f"{name}.se.conv_reduce", 0) in net.weights:
                gate = relu(net.conv(x.mean((2, 3), keepdim=True), f"{name}.se.conv_reduce"))
                x = x * net.functional.hardsigmoid(net.conv(gate, f"{name}.se.conv_expand"))
            x = ghost(x, f"{name}.ghost2", identity)
            if x.shape != inputs.shape:
                name = f"{name}.shortcut"
                inputs = net.conv_bn(inputs, f"{name}.0", f"{name}.1", stride)
                inputs = net.conv_bn(inputs, f"{name}.2", f"{name}.3")
            x = x + inputs
        features.append(x)
    return features[4], features[6], features[8]


def torch_shufflenetv2(net, x):
    relu = net.functional.relu
    x = relu(net.conv_bn(x, "conv1.0", "conv1.1", 2))
    x = net.functional.max_pool2d(x, 3, stride=2, padding=1)
    features = []
    for stage, repeats in ((2, 4), (3, 8), (4, 4)):
        for unit in range(repeats):
            name, stride = f"stage{stage}.{unit}", 1 if unit else 2
            if unit:
                left, x = x.chunk(2, dim=1)
            else:
                left = net.conv_bn(x, f"{name}.branch1.0", f"{name}.branch1.1", 2)
                left = relu(net.conv_bn(left, f"{name}.branch1.2", f"{name}.branch1.3"))
            name = f"{name}.branch2"
            x = relu(net.conv_bn(x, f"{name}.0", f"{name}.1"))
            x = net.conv_bn(x, f"{name}.3", f"{name}.4", stride)
            x = relu(net.conv_bn(x, f"{name}.5", f"{name}.6"))
            x = net.functional.channel_shuffle(net.torch.cat([left, x], dim=1), 2)
        features.append(x)
    return features


@pytest.mark.parametrize(
    ("name", "library", "reference"),
    [
        ("mobilenetv2", "torchvision", torch_mobilenetv2),
        ("ghostnet", "timm", torch_ghostnet),
        ("shufflenetv2", "torchvision", torch_shufflenetv2),
    ],
)
def test_features_equal_torch_only_under_its_convention(name, library, reference):
    backbone = build_backbone(name, (160, 96, 3), convention=library)
    weights = random_weights(backbone)
    pixels = images(160, 96)
    scaled = imagenet_scale(pixels).astype("float32").transpose(0, 3, 1, 2)
    net = Torch(weights)
    expected = [
        x.numpy().transpose(0, 2, 3, 1) for x in reference(net, net.torch.from_numpy(scaled))
    ]
    for feature, theirs in zip(run(backbone, weights, pixels), expected, strict=True):
        assert 0.03 < theirs.std() < 30
        np.testing.assert_allclose(feature, theirs, atol=TOLERANCE, rtol=0)

    right = resolve(name).conventions[library]
    for wrong in (replace(right, padding="keras"), replace(right, bn_epsilon=1e-3)):
        other = run(build_backbone(name, (160, 96, 3), convention=wrong), weights, pixels)
        assert np.abs(other[-1] - expected[-1]).max() > 10 * TOLERANCE
