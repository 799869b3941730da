"""Tests of every registered backbone; a new backbone is tested without further code."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.backbones import (
    build_backbone,
    build_classifier,
    list_backbones,
    register,
    registry,
    resolve,
)
from nets.conventions import KERAS, TORCH
from nets.layers import BN_MOMENTUM, make_divisible

# Shapes and counts need no values, and building without them is five times faster.
no_values = pytest.mark.usefixtures("values_left_out")

# Channels at the default width, as in the detectors of the predecessors.
CHANNELS = {
    "cspdarknet53": (256, 512, 1024),
    "cspdarknet_tiny": (128, 256, 512),
    "darknet53": (256, 512, 1024),
    "darknet_tiny": (128, 256, 1024),
    "efficientnet_lite0": (40, 112, 320),
    "efficientnetb0": (40, 112, 320),
    "ghostnet": (40, 112, 160),
    "mobilenetv1": (256, 512, 1024),
    "mobilenetv2": (32, 96, 320),
    "mobilenetv3_large": (40, 112, 160),
    "mobilenetv3_small": (24, 48, 96),
    "shufflenetv2": (116, 232, 464),
}

EPSILONS = {
    **{"keras": 1e-3, "efficientnet_pytorch": 1e-3, "darknet": 1e-6},
    **{"timm": 1e-5, "torchvision": 1e-5},
}
# torchvision/models/mobilenetv3.py and efficientnet.py pass another one for these.
TORCHVISION_1E3 = {"mobilenetv3_large", "mobilenetv3_small"}
TORCHVISION_1E3 |= {f"efficientnetb{number}" for number in (5, 6, 7)}

# Trainable parameters of the classifiers with 1000 classes, batch statistics not counted.
PUBLISHED = [
    # torchvision's `num_params`
    ("efficientnetb0", 1.0, 5_288_548),
    ("efficientnetb1", 1.0, 7_794_184),
    ("efficientnetb2", 1.0, 9_109_994),
    ("efficientnetb3", 1.0, 12_233_232),
    ("efficientnetb4", 1.0, 19_341_616),
    ("efficientnetb5", 1.0, 30_389_784),
    ("efficientnetb6", 1.0, 43_040_704),
    ("efficientnetb7", 1.0, 66_347_960),
    ("mobilenetv2", 1.0, 3_504_872),
    ("mobilenetv3_large", 1.0, 5_483_032),
    ("mobilenetv3_small", 1.0, 2_542_856),
    ("shufflenetv2", 0.5, 1_366_792),
    ("shufflenetv2", 1.0, 2_278_604),
    ("shufflenetv2", 1.5, 3_503_624),
    ("shufflenetv2", 2.0, 7_393_996),
    # timm's efficientnet_lite0, and ghostnet_050, _100 and _130
    ("efficientnet_lite0", 1.0, 4_652_008),
    ("ghostnet", 0.5, 2_587_292),
    ("ghostnet", 1.0, 5_182_508),
    ("ghostnet", 1.3, 7_358_820),
    # timm's darknet53 and cspdarknet53
    ("darknet53", 1.0, 41_609_928),
    ("cspdarknet53", 1.0, 27_642_184),
]


@pytest.fixture
def values_left_out():
    with keras.StatelessScope(initialize_variables=False):
        yield


def shapes(backbone):
    return [tuple(output.shape[1:]) for output in backbone.outputs]


def trainable_parameters(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@no_values
@pytest.mark.parametrize(
    ("name", "convention"),
    [
        # timm and torchvision mostly share a convention.
        (name, convention)
        for name in list_backbones()
        for convention in {value: key for key, value in resolve(name).conventions.items()}.values()
    ],
)
def test_features_have_strides_8_16_32(name, convention):
    backbone = build_backbone(name, (64, 96, 3), convention=convention)
    assert backbone.name == "backbone"
    assert [shape[:2] for shape in shapes(backbone)] == [(8, 12), (4, 6), (2, 3)]
    if name in CHANNELS:
        assert tuple(shape[2] for shape in shapes(backbone)) == CHANNELS[name]
    norms = [x for x in backbone.layers if isinstance(x, keras.layers.BatchNormalization)]
    larger = convention == "torchvision" and name in TORCHVISION_1E3
    assert {norm.epsilon for norm in norms} == {1e-3 if larger else EPSILONS[convention]}
    assert {norm.momentum for norm in norms} == {BN_MOMENTUM}


@no_values
@pytest.mark.parametrize(
    ("name", "narrow", "wide"),
    [(name, *pair) for name in list_backbones() for pair in pairwise(resolve(name).widths)],
)
def test_wider_widths_have_more_channels(name, narrow, wide):
    narrow, wide = (build_backbone(name, (32, 32, 3), width) for width in (narrow, wide))
    assert all(n[2] <= w[2] for n, w in zip(shapes(narrow), shapes(wide), strict=True))
    assert narrow.count_params() < wide.count_params()


@no_values
@pytest.mark.parametrize(("name", "width", "parameters"), PUBLISHED)
def test_classifiers_have_the_published_parameters(name, width, parameters):
    assert trainable_parameters(build_classifier(name, (32, 32, 3), width)) == parameters


@no_values
def test_parameters_equal_those_that_keras_publishes():
    """Keras also counts the statistics of batch normalization."""
    assert build_classifier("mobilenetv1").count_params() == 4_253_864
    assert build_backbone("mobilenetv1").count_params() == 3_228_864
    classifier = build_classifier("efficientnetb0")
    without_top = classifier.count_params() - classifier.get_layer("predictions").count_params()
    # Keras' Normalization has seven weights: mean and variance of three channels, and a count.
    assert without_top + 7 == 4_049_571


def test_all_documented_backbones_exist():
    promised = {f"efficientnetb{i}" for i in range(8)} | CHANNELS.keys()
    assert promised <= set(list_backbones())
    assert list_backbones() == sorted(list_backbones())
    assert resolve("efficientnet").name == "efficientnetb0"
    assert resolve("mobilenetv3").name == "mobilenetv3_large"
    assert resolve("mobilenetv1").widths == (0.25, 0.5, 0.75, 1.0)
    assert resolve("mobilenetv2").widths == (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
    assert resolve("mobilenetv3").widths == (0.75, 1.0)
    assert resolve("ghostnet").widths == (0.5, 1.0, 1.3)
    assert resolve("shufflenetv2").widths == (0.5, 1.0, 1.5, 2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mobilnetv2"}, "did you mean mobilenetv2"),
        ({"name": "GhostNet"}, "did you mean ghostnet"),
        ({"name": "xyz"}, "choose one of .*efficientnetb0, "),
        ({"name": "ghostnet", "width": 0.75}, r"no width 0\.75; choose among 0\.5, 1\.0, 1\.3"),
        ({"name": "ghostnet", "convention": "caffe"}, "'caffe'; choose among keras, timm"),
        ({"name": "ghostnet", "input_shape": (416, 400, 3)}, "400 is not a multiple of 32"),
        ({"name": "ghostnet", "input_shape": (416, 416, 1)}, "1 input channels"),
    ],
)
def test_an_error_names_the_wrong_argument_and_lists_the_choices(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(**arguments)


@no_values
def test_a_convention_may_be_given_as_a_record():
    backbone = build_backbone(
        "mobilenetv3", (32, 32, 3), convention=replace(TORCH, bn_epsilon=1e-3)
    )
    assert backbone.get_layer("conv_bn").epsilon == 1e-3


def test_registering_one_function_adds_a_backbone(monkeypatch):
    monkeypatch.setattr(registry, "_SPECS", dict(registry._SPECS))
    monkeypatch.setattr(registry, "_ALIASES", dict(registry._ALIASES))

    @register("plain", conventions={"keras": KERAS}, aliases=("simple",))
    def plain(x, *, width, layers):
        features = [x := layers.conv(x, 8, 3, 2, "relu", name=f"conv{i}") for i in range(5)]
        return features[2:]

    assert "plain" in list_backbones()
    assert shapes(build_backbone("simple", (64, 32, 3))) == [(8, 4, 8), (4, 2, 8), (2, 1, 8)]
    with pytest.raises(ValueError, match="has no classifier"):
        build_classifier("plain")
    with pytest.raises(ValueError, match="registered twice"):
        register("plain", conventions={"keras": KERAS})


def test_a_frozen_backbone_keeps_its_statistics():
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    backbone = build_backbone("mobilenetv1", (32, 32, 3), 0.25)
    mean = backbone.get_layer("conv1_bn").moving_mean
    before = mean.numpy()

    backbone.trainable = False
    assert not backbone.trainable_variables
    frozen = backbone(images, training=True)
    for feature, inference in zip(frozen, backbone(images), strict=True):
        np.testing.assert_array_equal(feature, inference)
    np.testing.assert_array_equal(mean, before)

    backbone.trainable = True
    backbone(images, training=True)
    assert np.any(mean.numpy() != before)


@no_values
def test_pixels_are_scaled_in_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        backbone = build_backbone("mobilenetv1", (32, 32, 3), 0.25, "timm")
    finally:
        keras.config.set_dtype_policy("float32")
    assert backbone.get_layer("scaling").output.dtype == "float32"
    assert [output.dtype for output in backbone.outputs] == ["bfloat16"] * 3


@no_values
def test_batch_statistics_are_synchronized_if_there_are_replicas(monkeypatch):
    single = build_backbone("mobilenetv1", (32, 32, 3), 0.25)
    assert not single.get_layer("conv1_bn").synchronized
    strategy = SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    replicated = build_backbone("mobilenetv1", (32, 32, 3), 0.25)
    assert replicated.get_layer("conv1_bn").synchronized


@pytest.mark.parametrize(
    ("value", "divisor", "rounded"),
    [
        (32, 8, 32),
        (11.2, 8, 16),  # 8 would be 29% smaller
        (41.6, 8, 40),  # 4% smaller
        (3, 8, 8),  # at least the divisor
        (18, 4, 20),  # halfway rounds up
    ],
)
def test_make_divisible(value, divisor, rounded):
    assert make_divisible(value, divisor) == rounded
