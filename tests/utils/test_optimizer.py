import functools

import keras
import numpy as np
import tensorflow as tf

from utils.trainer import FusedAdamW


def apply(optimizer, variables, *gradients):
    optimizer.apply(gradients, variables)


def test_the_fused_kernel_steps_as_keras_does():
    rng = np.random.default_rng(0)
    start = [rng.normal(0, 1, shape).astype(np.float32) for shape in ((3, 4), (5,))]
    gradients = [
        [rng.normal(0, 1, value.shape).astype(np.float32) for value in start] for _ in range(5)
    ]
    ends = []
    for kind in (FusedAdamW, keras.optimizers.AdamW):
        variables = [keras.Variable(value) for value in start]
        optimizer = kind(
            0.01, weight_decay=0.1, global_clipnorm=1.0, use_ema=True, ema_momentum=0.9
        )
        optimizer.build(variables)

        step = tf.function(functools.partial(apply, optimizer, variables))
        for grads in gradients:
            step(*map(tf.constant, grads))
        values = [variable.numpy() for variable in variables]
        optimizer.finalize_variable_values(variables)
        ends.append([*values, *(variable.numpy() for variable in variables)])
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
