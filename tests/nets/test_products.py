"""Compares the normalized 1x1 convolution with double precision."""

import numpy as np
import pytest
import tensorflow as tf

from nets.products import normalized_product

SHAPE, FILTERS = (4, 24, 20, 8), 32


def in_double_precision(features, kernel, gamma, beta, upstream):
    """Computes results and gradients by the formulas of Ioffe and Szegedy 2015."""
    x, matrix, upstream = (a.astype(np.float64) for a in (features, kernel[0, 0], upstream))
    product = x @ matrix
    count = product[..., 0].size
    mean, variance = product.mean((0, 1, 2)), product.var((0, 1, 2))
    deviation = np.sqrt(variance + 1e-3)
    normal = (product - mean) / deviation
    of_gamma, of_beta = (upstream * normal).sum((0, 1, 2)), upstream.sum((0, 1, 2))
    of_product = gamma * (upstream - of_beta / count - normal * of_gamma / count) / deviation
    return {
        "outputs": normal * gamma + beta,
        "x": of_product @ matrix.T,
        "kernel": np.einsum("bhwc,bhwd->cd", x, of_product)[None, None],
        "gamma": of_gamma,
        "beta": of_beta,
        "mean": mean,
        "variance": variance * count / (count - 1),
    }


def relative_error(ours, exact):
    return np.linalg.norm(np.asarray(ours).astype(np.float64) - exact) / np.linalg.norm(exact)


# Mean of the features and of the upstream gradient in deviations, and the deviation.
CASES = {
    "centred": (0, 0, 1),
    "mean of features": (3, 0, 1),
    "both means": (3, 0.3, 1),
    "small": (3, 0.3, 0.1),
    "large and negative": (-3, -0.3, 10),
    "upstream mean": (0.5, 1, 1),
    "far from zero": (6, 0.3, 1),
}


@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 0.008), ("float32", 4e-5)])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clips", [False, True])
def test_no_digits_are_lost_where_means_are_large(dtype, bound, case, clips):
    """Clipped features have equal values at many pixels, whose rounding does not average out."""
    rng = np.random.default_rng(10)
    mean, upstream_mean, deviation = CASES[case]
    features = deviation * rng.normal(mean, 1, SHAPE)
    if clips:
        features = np.clip(features, 0, 3.1 * deviation)
    kernel = rng.normal(0, 1, (1, 1, SHAPE[-1], FILTERS))
    upstream = rng.normal(upstream_mean, 1, (*SHAPE[:3], FILTERS))
    features, kernel, upstream = (array.astype(dtype) for array in (features, kernel, upstream))
    gamma, beta = (rng.uniform(0.5, 2, FILTERS).astype(np.float32) for _ in range(2))
    inputs = [tf.constant(array) for array in (features, kernel, gamma, beta)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, mean, variance = normalized_product(*inputs, epsilon=1e-3)
    gradients = tape.gradient(outputs, inputs, output_gradients=tf.constant(upstream))
    exact = in_double_precision(features, kernel, gamma, beta, upstream)
    names = ("outputs", "x", "kernel", "gamma", "beta", "mean", "variance")
    ours = dict(zip(names, (outputs, *gradients, mean, variance), strict=True))
    errors = {n: relative_error(value, exact[n]) for n, value in ours.items() if n != "mean"}
    shift = (np.asarray(mean) - exact["mean"]) / np.sqrt(exact["variance"])
    errors["mean"] = np.abs(shift).max()
    assert max(errors.values()) < bound, errors
