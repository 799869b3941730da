import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.conventions import KERAS
from nets.kernels import BatchNorm, Conv2D, DepthwiseConv2D, widens
from nets.layers import Layers


def normalized(kinds, shape, filters, **norm_options):
    """Returns a network of a 1x1 convolution and a normalization, and these two layers."""
    convolution_kind, norm_kind = kinds
    images = keras.Input(shape[1:], batch_size=shape[0])
    convolution = convolution_kind(filters, 1, use_bias=False)
    features = convolution(images)
    if norm_kind is BatchNorm and widens(shape[-1], filters):
        norm = BatchNorm(kernel=lambda: convolution.kernel, **norm_options)
        outputs = norm(features, factor=images)
    else:
        norm = norm_kind(**norm_options)
        outputs = norm(features)
    return keras.Model(images, outputs), convolution, norm


@pytest.fixture
def mixed_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")  # conftest.py restores float32


@pytest.fixture
def pair():
    """Returns our normalization and that of Keras, with the same random weights."""
    rng = np.random.default_rng(0)
    layers = [
        kind(momentum=0.9, epsilon=1e-3) for kind in (BatchNorm, keras.layers.BatchNormalization)
    ]
    gamma, beta = rng.uniform(0.5, 2, 8), rng.normal(0, 1, 8)
    for layer in layers:
        layer.build((None, 6, 6, 8))
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
    return layers


def test_fused_training_equals_keras_forward_and_backward(pair):
    rng = np.random.default_rng(1)
    features = tf.constant(rng.normal(1, 3, (4, 6, 6, 8)), tf.float32)
    weight = tf.constant(rng.normal(0, 1, (4, 6, 6, 8)), tf.float32)
    results = []
    for layer in pair:
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = layer(features, training=True)
            loss = tf.reduce_sum(outputs * weight)
        results.append([outputs, *tape.gradient(loss, [features, *layer.trainable_variables])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_moving_variance_uses_the_unbiased_variance(pair):
    features = np.random.default_rng(2).normal(1, 3, (4, 6, 6, 8)).astype(np.float32)
    ours, theirs = pair
    ours(features, training=True)
    theirs(features, training=True)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, atol=1e-6)
    variance = features.var(axis=(0, 1, 2), ddof=1)  # of 4 * 6 * 6 values per channel
    np.testing.assert_allclose(ours.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5)


def test_inference_and_frozen_layers_use_the_moving_statistics(pair):
    features = np.random.default_rng(3).normal(1, 3, (4, 6, 6, 8)).astype(np.float32)
    ours, theirs = pair
    np.testing.assert_allclose(ours(features), theirs(features), atol=1e-6)
    ours.trainable = False
    np.testing.assert_allclose(ours(features, training=True), theirs(features), atol=1e-6)
    np.testing.assert_array_equal(ours.moving_mean, np.zeros(8))


@pytest.mark.parametrize(
    ("kernel_size", "shape", "filters"),
    [(1, (4, 6, 5, 8), 16), (1, (4, 6, 5, 16), 8), (1, (4, 1, 2, 8), 16), (3, (4, 6, 5, 8), 16)],
    ids=["1x1", "narrowing", "few pixels", "3x3"],
)
def test_convolution_and_its_gradients_equal_keras(kernel_size, shape, filters):
    rng = np.random.default_rng(4)
    features = tf.constant(rng.normal(0, 1, shape), tf.float32)
    weight = tf.constant(rng.normal(0, 1, (*shape[:3], filters)), tf.float32)
    kernel = rng.normal(0, 1, (kernel_size, kernel_size, shape[-1], filters))
    results = []
    for kind in (Conv2D, keras.layers.Conv2D):
        layer = kind(filters, kernel_size, padding="same", use_bias=False)
        layer.build(features.shape)
        layer.kernel.assign(kernel)
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = layer(features, training=True)
            loss = tf.reduce_sum(outputs * weight)
        results.append([outputs, *tape.gradient(loss, [features, layer.kernel.value])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_widening_convolution_of_one_pixel_is_normalized_to_its_offset():
    kinds = (Conv2D, BatchNorm)
    network, _, _ = normalized(kinds, (1, 1, 1, 8), 32, beta_initializer="ones")
    outputs = network(tf.random.normal((1, 1, 1, 8)), training=True)
    np.testing.assert_allclose(outputs, np.ones((1, 1, 1, 32)), atol=1e-5)


@pytest.mark.parametrize("filters", [8, 31, 32, 48])
def test_a_normalized_convolution_and_its_gradients_equal_keras(filters):
    rng = np.random.default_rng(6)
    mixed = rng.normal(0, 1, (4, 6, 5, 8)) @ rng.normal(0, 1, (8, 8))  # correlated channels
    features = tf.constant(mixed + rng.normal(0, 3, 8), tf.float32)
    weight = tf.constant(rng.normal(0, 1, (4, 6, 5, filters)), tf.float32)
    kernel = rng.normal(0, 1, (1, 1, 8, filters))
    gamma, beta = rng.uniform(0.5, 2, filters), rng.normal(0, 1, filters)
    results = []
    for kinds in ((Conv2D, BatchNorm), (keras.layers.Conv2D, keras.layers.BatchNormalization)):
        network, _, norm = normalized(kinds, features.shape, filters, momentum=0.0, epsilon=1e-3)
        weights = network.trainable_variables
        for variable, value in zip(weights, (kernel, gamma, beta), strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = tf.nn.relu6(network(features, training=True))
            loss = tf.reduce_sum(outputs * weight)
        sources = [features, *(variable.value for variable in weights)]
        statistics = norm.moving_mean, norm.moving_variance
        results.append([outputs, *tape.gradient(loss, sources), *statistics])
    results[1][-1] = results[1][-1] * 120 / 119  # ours is the unbiased one, of 4 * 6 * 5 values
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_moving_statistics_of_a_normalized_convolution_in_bfloat16(mixed_bfloat16):
    rng = np.random.default_rng(10)
    features = rng.normal(1, 1, (4, 12, 10, 8)).astype("bfloat16")
    network, convolution, norm = normalized(
        (Conv2D, BatchNorm), features.shape, 32, momentum=0.0, epsilon=1e-3
    )
    convolution.kernel.assign(rng.normal(0, 1, convolution.kernel.shape))
    outputs = network(tf.constant(features), training=True)
    assert outputs.dtype == tf.bfloat16
    kernel = np.asarray(convolution.kernel)[0, 0].astype("bfloat16").astype(np.float64)
    product = features.astype(np.float64) @ kernel
    deviation = product.std((0, 1, 2), ddof=1)
    np.testing.assert_allclose(
        norm.moving_mean / deviation, product.mean((0, 1, 2)) / deviation, atol=2**-9
    )
    np.testing.assert_allclose(norm.moving_variance, deviation**2, rtol=2**-8)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("filters", [31, 32])
def test_a_widening_convolution_is_computed_only_once(filters, policy):
    keras.config.set_dtype_policy(policy)
    images = keras.Input((6, 6, 8), batch_size=2)
    network = keras.Model(images, Layers(KERAS).conv(images, filters, name="widening"))
    step = tf.function(lambda x: network(x, training=True))
    graph = step.get_concrete_function(tf.TensorSpec((2, 6, 6, 8))).graph
    normalizations = [op for op in graph.get_operations() if op.type == "FusedBatchNormV3"]
    assert len(normalizations) == (filters < 32)


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("padding", ["same", "margin"])
def test_a_depthwise_convolution_at_stride_2_has_the_gradients_of_tensorflow(kernel_size, padding):
    rng = np.random.default_rng(7)
    # bfloat16 represents small integers and the sums of their products exactly.
    features, kernel, weight = (
        rng.integers(-2, 3, shape).astype(np.float32)
        for shape in ((2, 6, 10, 8), (kernel_size, kernel_size, 8, 1), (2, 3, 5, 8))
    )
    margin = kernel_size // 2
    margins = [[0, 0], [margin, margin], [margin, margin], [0, 0]]
    options = {"margin": margin, "padding": "valid"} if padding == "margin" else {"padding": "same"}
    layer = DepthwiseConv2D(kernel_size, 2, use_bias=False, dtype="mixed_bfloat16", **options)
    layer.build(features.shape)
    layer.kernel.assign(kernel)
    expected_padding = margins if padding == "margin" else "SAME"
    results = []
    for convolve in (
        lambda x: layer(x, training=True),
        lambda x: tf.nn.depthwise_conv2d(x, layer.kernel.value, (1, 2, 2, 1), expected_padding),
    ):
        x = tf.constant(features)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = tf.cast(convolve(x), tf.float32)
            loss = tf.reduce_sum(outputs * weight)
        results.append([outputs, *tape.gradient(loss, [x, layer.kernel.value])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("channels", [8, 16])
def test_normalization_in_bfloat16_keeps_its_statistics_in_float32(channels):
    features = np.random.default_rng(8).normal(3, 0.5, (4, 6, 6, channels)).astype("bfloat16")
    layer = BatchNorm(momentum=0.0, epsilon=1e-3, dtype="mixed_bfloat16")
    outputs = layer(tf.constant(features), training=True)
    assert outputs.dtype == tf.bfloat16
    exact = features.astype(np.float64)
    mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variance * 144 / 143, rtol=1e-4)
    expected = (exact - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize(
    ("channels", "gpu", "expected"),
    [(8, False, tf.float32), (16, False, tf.bfloat16), (8, True, tf.bfloat16)],
)
def test_channels_that_do_not_fill_vectors_are_normalized_in_float32_on_cpus(
    monkeypatch, channels, gpu, expected
):
    monkeypatch.setattr("nets.kernels.has_gpu", lambda: gpu)
    layer = BatchNorm(epsilon=1e-3, dtype="mixed_bfloat16")
    layer.build((None, 6, 6, channels))
    step = tf.function(lambda x: layer(x, training=True))
    graph = step.get_concrete_function(tf.TensorSpec((2, 6, 6, channels), tf.bfloat16)).graph
    (kernel,) = (op for op in graph.get_operations() if op.type == "FusedBatchNormV3")
    assert kernel.get_attr("T") == expected


def test_kernel_gradients_in_bfloat16_are_exact_to_its_rounding():
    rng = np.random.default_rng(9)
    features, weight = (rng.normal(0, 1, (4, 6, 5, width)).astype("bfloat16") for width in (24, 8))
    layer = Conv2D(8, 1, use_bias=False, dtype="mixed_bfloat16")
    layer.build(features.shape)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(layer(features, training=True), tf.float32) * weight)
    (gradient,) = tape.gradient(loss, [layer.kernel.value])
    exact = np.einsum("bhwc,bhwd->cd", *(a.astype(np.float64) for a in (features, weight)))
    np.testing.assert_allclose(gradient[0, 0], exact, rtol=2**-7, atol=2**-5)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_a_depthwise_convolution_with_a_margin_equals_one_of_padded_features(kernel_size):
    rng = np.random.default_rng(5)
    features = tf.constant(rng.normal(0, 1, (4, 6, 10, 8)), tf.float32)
    weight = tf.constant(rng.normal(0, 1, (4, 3, 5, 8)), tf.float32)
    margin = kernel_size // 2
    layer = DepthwiseConv2D(kernel_size, 2, "valid", margin=margin, use_bias=False)
    padded = keras.layers.DepthwiseConv2D(kernel_size, 2, "valid", use_bias=False)
    assert layer(keras.Input((6, 10, 8))).shape == (None, 3, 5, 8)
    padded.build((4, 6 + 2 * margin, 10 + 2 * margin, 8))
    padded.kernel.assign(layer.kernel)
    results = []
    for one, training in ((layer, True), (layer, False), (padded, True)):
        with tf.GradientTape() as tape:
            tape.watch(features)
            inputs = keras.layers.ZeroPadding2D(margin)(features) if one is padded else features
            outputs = one(inputs, training=training) if one is layer else one(inputs)
            loss = tf.reduce_sum(outputs * weight)
        results.append([outputs, *tape.gradient(loss, [features, one.kernel.value])])
    for trained, inferred, expected in zip(*results, strict=True):
        np.testing.assert_allclose(trained, expected, atol=1e-4)
        np.testing.assert_allclose(inferred, expected, atol=1e-4)
