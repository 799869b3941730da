"""Checks the names of the operations of custom gradients."""

import tensorflow as tf

from nets.kernels import Conv2D, DepthwiseConv2D
from nets.scopes import named_after_layer


def names_of_gradients(layer, shape):
    layer.build(shape)

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, layer.kernel.value])

    graph = gradient.get_concrete_function(tf.TensorSpec(shape)).graph
    return {op.type: op.name for op in graph.get_operations() if "Backprop" in op.type}


def test_gradients_of_a_pointwise_convolution_are_named_after_it():
    names = names_of_gradients(Conv2D(8, 1, use_bias=False, name="wide"), (2, 4, 4, 4))
    assert names["Conv2DBackpropInput"].startswith("gradient_tape/wide")


def test_gradients_of_a_depthwise_convolution_at_stride_2_are_named_after_it():
    layer = DepthwiseConv2D(3, 2, "valid", margin=1, use_bias=False, name="halving")
    names = names_of_gradients(layer, (2, 4, 4, 4))
    assert names["DepthwiseConv2dNativeBackpropFilter"].startswith("gradient_tape/halving")


def test_gradients_outside_of_a_layer_have_no_layer_in_their_names():
    @tf.custom_gradient
    def tripled(x):
        return 3.0 * x, named_after_layer(lambda upstream: tf.multiply(upstream, 3.0, "triple"))

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tripled(x)
        return tape.gradient(y, x)

    graph = gradient.get_concrete_function(tf.TensorSpec(())).graph
    assert "gradient_tape/triple" in {op.name for op in graph.get_operations()}
    assert gradient(tf.constant(2.0)).numpy() == 3.0
