"""Every registered backbone keeps the registry's promises; a new one is tested for nothing."""

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

# Shapes and counts need no values: without a scope nothing is drawn, which is five times faster.
no_values = pytest.mark.usefixtures("values_left_out")

# Channels at the default width, as the predecessors' detectors use them.
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

EPSILONS = {"keras": 1e-3, "torch": 1e-5, "darknet": 1e-6}

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
    [(name, convention) for name in list_backbones() for convention in resolve(name).conventions],
)
def test_features_have_strides_8_16_32(name, convention):
    backbone = build_backbone(name, (64, 96, 3), convention=convention)
    assert backbone.name == "backbone"
    assert [shape[:2] for shape in shapes(backbone)] == [(8, 12), (4, 6), (2, 3)]
    if name in CHANNELS:
        assert tuple(shape[2] for shape in shapes(backbone)) == CHANNELS[name]
    norms = [x for x in backbone.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {norm.epsilon for norm in norms} == {EPSILONS[convention]}
    assert {norm.momentum for norm in norms} == {BN_MOMENTUM}


@no_values
@pytest.mark.parametrize(
    ("name", "narrow", "wide"),
    [(name, *pair) for name in list_backbones() for pair in pairwise(resolve(name).widths)],
)
def test_every_width_widens(name, narrow, wide):
    narrow, wide = (build_backbone(name, (32, 32, 3), width) for width in (narrow, wide))
    assert all(n[2] <= w[2] for n, w in zip(shapes(narrow), shapes(wide), strict=True))
    assert narrow.count_params() < wide.count_params()


@no_values
@pytest.mark.parametrize(("name", "width", "parameters"), PUBLISHED)
def test_parameters_are_the_published_ones(name, width, parameters):
    assert trainable_parameters(build_classifier(name, (32, 32, 3), width)) == parameters


@no_values
def test_parameters_are_those_keras_publishes():
    """Keras counts batch statistics too."""
    assert build_classifier("mobilenetv1").count_params() == 4_253_864
    assert build_backbone("mobilenetv1").count_params() == 3_228_864
    classifier = build_classifier("efficientnetb0")
    without_top = classifier.count_params() - classifier.get_layer("predictions").count_params()
    # Mean and variance of three channels and a count stand in Keras' Normalization as weights.
    assert without_top + 7 == 4_049_571


def test_there_are_all_the_promised_backbones():
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
        ({"name": "xyz"}, "there are .*efficientnetb0, "),
        ({"name": "ghostnet", "width": 0.75}, r"no width 0\.75; choose among 0\.5, 1\.0, 1\.3"),
        ({"name": "ghostnet", "convention": "caffe"}, "'caffe'; choose among keras, torch"),
        ({"name": "ghostnet", "input_shape": (416, 400, 3)}, "multiples of 32"),
        ({"name": "ghostnet", "input_shape": (416, 416, 1)}, "channels 3"),
    ],
)
def test_a_wrong_argument_is_named_with_the_right_ones(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(**arguments)


@no_values
def test_a_convention_of_ones_own_is_taken():
    """As torchvision's MobileNetV3 needs, whose epsilon is Keras'."""
    backbone = build_backbone(
        "mobilenetv3", (32, 32, 3), convention=replace(TORCH, bn_epsilon=1e-3)
    )
    assert backbone.get_layer("conv_bn").epsilon == 1e-3


def test_a_function_is_all_it_takes(monkeypatch):
    monkeypatch.setattr(registry, "_SPECS", dict(registry._SPECS))
    monkeypatch.setattr(registry, "_ALIASES", dict(registry._ALIASES))

    @register("plain", conventions={"keras": KERAS}, aliases=("simple",))
    def plain(x, *, width, layers):
        features = [x := layers.conv(x, 8, 3, 2, "relu", name=f"conv{i}") for i in range(5)]
        return features[2:]

    assert "plain" in list_backbones()
    assert shapes(build_backbone("simple", (64, 32, 3))) == [(8, 4, 8), (4, 2, 8), (2, 1, 8)]
    with pytest.raises(ValueError, match="without a top"):
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
        backbone = build_backbone("mobilenetv1", (32, 32, 3), 0.25, "torch")
    finally:
        keras.config.set_dtype_policy("float32")
    assert backbone.get_layer("scaling").output.dtype == "float32"
    assert [output.dtype for output in backbone.outputs] == ["bfloat16"] * 3


@no_values
def test_statistics_are_shared_where_there_are_replicas_to_share_them(monkeypatch):
    alone = build_backbone("mobilenetv1", (32, 32, 3), 0.25)
    assert not alone.get_layer("conv1_bn").synchronized
    strategy = SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    together = build_backbone("mobilenetv1", (32, 32, 3), 0.25)
    assert together.get_layer("conv1_bn").synchronized


@pytest.mark.parametrize(
    ("value", "divisor", "rounded"),
    [
        (32, 8, 32),
        (11.2, 8, 16),  # 8 would be 29% smaller
        (41.6, 8, 40),  # 4% smaller
        (3, 8, 8),  # never less than the divisor
        (18, 4, 20),  # halfway goes up
    ],
)
def test_make_divisible(value, divisor, rounded):
    assert make_divisible(value, divisor) == rounded
