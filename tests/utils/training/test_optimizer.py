import functools
from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tiny_run import tiny_network
from utils.config import Optimizer, Recipe
from utils.training.average import MovingAverage
from utils.training.optimizer import OPTIMIZERS, FusedAdamW, make_optimizer
from utils.training.train_step import make_train_step
from utils.training.trained_weights import TrainedWeights
from utils.training.vectors import WeightVector, join, make_statistics, make_vectors

STRATEGY = tf.distribute.get_strategy()


def apply(optimizer, variables, *gradients):
    optimizer.apply(gradients, variables)


def random(rng, *shapes):
    return [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes]


def test_fused_adamw_equals_keras():
    rng = np.random.default_rng(0)
    start = random(rng, (3, 4), (5,))
    gradients = [random(rng, (3, 4), (5,)) for _ in range(5)]
    ends = []
    for kind in (FusedAdamW, keras.optimizers.AdamW):
        variables = [keras.Variable(value) for value in start]
        optimizer = kind(0.01, weight_decay=0.1, global_clipnorm=1.0)
        optimizer.build(variables)

        step = tf.function(functools.partial(apply, optimizer, variables))
        for grads in gradients:
            step(*map(tf.constant, grads))
        ends.append([variable.numpy() for variable in variables])
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_step_clips_the_norm_of_all_gradients_whatever_the_loss_scale(precision, clip_norm):
    network, reference = tiny_network(), tiny_network()
    images = tf.ones((2, 4, 4, 2))

    def loss_of(model):
        return tf.reduce_mean(model(images) ** 2)

    network.compute_loss = lambda *batch: {"box": loss_of(network)}
    recipe = Recipe(
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=0.0,
        clip_norm=clip_norm,
        batch_size=2,
        precision=precision,
    )
    step = make_train_step(network, TrainedWeights(network, recipe, STRATEGY), recipe)
    step(images.numpy(), np.zeros((2, 1, 4), np.float32), np.zeros((2, 1), np.int32))
    weights = reference.trainable_variables
    with tf.GradientTape() as tape:
        loss = loss_of(reference)
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    norm = np.sqrt(sum((gradient.numpy() ** 2).sum() for gradient in gradients))
    assert norm > 0.2
    factor = clip_norm / norm if clip_norm else 1.0
    trained = network.trainable_variables
    for actual, weight, gradient in zip(trained, weights, gradients, strict=True):
        expected = weight - 0.1 * 1.937 * factor * gradient  # Nesterov's first step
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_vectors_are_updated_like_separate_weights(name):
    recipe = Recipe(optimizer=name, weight_decay=0.1)
    network, reference = tiny_network(), tiny_network()
    vectors = make_vectors(network)
    optimizer = make_optimizer(recipe, vectors)
    kinds = {
        "adamw": keras.optimizers.AdamW,
        "sgd": functools.partial(keras.optimizers.SGD, momentum=0.937, nesterov=True),
    }
    expected = kinds[name](recipe.learning_rate, weight_decay=0.1)
    expected.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    expected.build(reference.trainable_variables)

    rng = np.random.default_rng(1)
    for _ in range(4):
        gradients = {
            weight.path: gradient
            for weight, gradient in zip(
                network.trainable_variables,
                random(rng, *(weight.shape for weight in network.trainable_variables)),
                strict=True,
            )
        }
        joined = [join(gradients[w.path] for w in vector.weights) for vector in vectors]
        optimizer.apply(joined, [vector.joined for vector in vectors])
        for vector in vectors:
            vector.scatter(STRATEGY)
        expected.apply(list(gradients.values()))
    for ours, theirs in zip(network.weights, reference.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, err_msg=ours.path)


def test_vectors_separate_backbone_and_decay():
    network = tiny_network()
    vectors = {v.joined.name: [w.name for w in v.weights] for v in make_vectors(network)}
    assert vectors == {
        "backbone_kernels": ["kernel"],
        "backbone_offsets": ["gamma", "beta"],
        "neck_and_head_kernels": ["kernel"],
        "neck_and_head_offsets": ["bias"],
    }
    assert [w.name for w in make_statistics(network).weights] == ["moving_mean", "moving_variance"]


def test_moving_average_forgets_its_start_and_restores_the_network():
    weights = [keras.Variable([0.0, 0.0]), keras.Variable([[0.0]])]
    vector = WeightVector(weights, "kernels")
    average = MovingAverage([vector], momentum=0.6)
    for step, value in enumerate((1.0, 2.0)):
        for weight in weights:
            weight.assign(np.full(weight.shape, value))
        vector.gather()
        average.update(tf.constant(step), True)
    # The first step moves by 9/10 of the way to 1, the second by 9/11 of the way from 0.9 to 2.
    np.testing.assert_allclose(average.averages[0], [1.8] * 3, rtol=1e-6)
    average.update(tf.constant(1000), True)  # late steps move by 0.4 of the way
    np.testing.assert_allclose(average.averages[0], [1.88] * 3, rtol=1e-6)

    with average.in_place(STRATEGY):
        np.testing.assert_allclose(weights[0], [1.88, 1.88], rtol=1e-6)
        np.testing.assert_allclose(weights[1], [[1.88]], rtol=1e-6)
    np.testing.assert_array_equal(weights[0], [2.0, 2.0])
    np.testing.assert_array_equal(vector.joined, [2.0] * 3)


def test_every_optimizer_of_the_recipe_can_be_made():
    assert OPTIMIZERS.keys() == set(get_args(Optimizer))
    with pytest.raises(ValueError, match="optimizer is 'adam'; choose one of adamw, sgd"):
        Recipe(optimizer="adam")
