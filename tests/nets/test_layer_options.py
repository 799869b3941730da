"""Our layers equal those of Keras with any option, in inference and in training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.kernels import BatchNorm, Conv2D, DepthwiseConv2D


def integers(shape, seed=0):
    """bfloat16 represents small integers and the sums of their products exactly."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def train_and_infer(layer, features):
    """Returns the outputs and gradients of a training pass and of an inference pass."""
    features, results = tf.constant(features), []
    for training in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = tf.cast(layer(features, training=training), tf.float32)
            loss = tf.reduce_sum(outputs * integers(outputs.shape))
        sources = [features, *(weight.value for weight in layer.trainable_weights)]
        results += [outputs, *tape.gradient(loss, sources)]
    return results


def assert_equal_to_keras(ours, theirs, shape, margin=0):
    """Compares our layer with that of Keras, which gets padded features instead of a margin."""
    pad = keras.layers.ZeroPadding2D(margin)
    theirs = keras.Sequential([keras.Input(shape[1:], batch_size=shape[0]), pad, theirs])
    ours.build(shape)
    weights = [integers(weight.shape, seed=1) for weight in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    results = (train_and_infer(layer, integers(shape, seed=2)) for layer in (ours, theirs))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


DEPTHWISE = {"kernel_size": 3, "strides": 2, "use_bias": False, "dtype": "mixed_bfloat16"}
OPTIONS = {
    "bias": {"use_bias": True},
    "activation": {"activation": "relu6"},
    "bias and activation": {"use_bias": True, "activation": "relu"},
    "depth multiplier": {"depth_multiplier": 2},
    "dilation": {"dilation_rate": 2, "strides": 1},
    "even kernel": {"kernel_size": 4},
    "rectangular kernel": {"kernel_size": (3, 5)},
    "stride 1": {"strides": 1},
    "stride 3": {"strides": 3},
    "no margin": {"padding": "valid"},
    "channels first": {"data_format": "channels_first"},
}


WITH_MARGIN = [option for option in OPTIONS if option != "channels first"]  # an error, see below


@pytest.mark.parametrize(
    ("option", "margin"),
    [*((option, 0) for option in OPTIONS), *((option, 1) for option in WITH_MARGIN)],
)
def test_a_depthwise_convolution_with_any_option(option, margin):
    options = DEPTHWISE | {"padding": "valid" if margin else "same"} | OPTIONS[option]
    assert_equal_to_keras(
        DepthwiseConv2D(margin=margin, **options),
        keras.layers.DepthwiseConv2D(**options),
        (2, 8, 10, 4),
        margin,
    )


@pytest.mark.parametrize("sides", [(7, 9), (8, 9), (1, 2)])
@pytest.mark.parametrize("margin", [0, 1], ids=["same", "margin"])
def test_a_depthwise_convolution_of_any_size(sides, margin):
    options = DEPTHWISE | {"padding": "valid" if margin else "same"}
    assert_equal_to_keras(
        DepthwiseConv2D(margin=margin, **options),
        keras.layers.DepthwiseConv2D(**options),
        (2, *sides, 4),
        margin,
    )


@pytest.mark.parametrize(
    "options", [{"padding": "same"}, {"data_format": "channels_first"}], ids=["same", "first"]
)
def test_a_margin_that_would_be_ignored_is_an_error(options):
    with pytest.raises(ValueError, match="a margin needs padding 'valid' and channels last"):
        DepthwiseConv2D(3, 2, margin=1, **options)


@pytest.mark.parametrize(
    "option",
    [
        {"use_bias": True},
        {"activation": "relu6"},
        {"strides": 2},
        {"data_format": "channels_first"},
    ],
    ids=str,
)
def test_a_1x1_convolution_with_any_option(option):
    options = {"filters": 8, "kernel_size": 1, "use_bias": False, "dtype": "mixed_bfloat16"}
    options |= option
    assert_equal_to_keras(Conv2D(**options), keras.layers.Conv2D(**options), (2, 4, 6, 4))


@pytest.mark.parametrize(
    ("option", "shape"),
    [
        ({"scale": False}, (2, 4, 6, 8)),
        ({"center": False}, (2, 4, 6, 8)),
        ({"axis": 1}, (2, 4, 6, 8)),
        ({}, (16, 8)),
    ],
    ids=str,
)
def test_a_normalization_with_any_option(option, shape):
    rng = np.random.default_rng(2)
    features = tf.constant(rng.normal(1, 2, shape), tf.float32)
    ours, theirs = BatchNorm(**option), keras.layers.BatchNormalization(**option)
    for layer in (ours, theirs):
        layer.build(shape)
    weights = [rng.uniform(0.5, 1.5, weight.shape) for weight in ours.weights]
    for layer in (ours, theirs):
        layer.set_weights(weights)
    for training in (True, False):
        results = (layer(features, training=training) for layer in (ours, theirs))
        np.testing.assert_allclose(*results, atol=1e-4)
