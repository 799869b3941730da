import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.inference_network import inference_network
from tests.exported import (
    assert_close,
    keras_outputs,
    make_detector,
    random_canvases,
    small_detector,
)

# tests/utils/export/test_grid.py compares all backbones and versions with Keras.


@pytest.mark.parametrize(
    ("backbone", "options"),
    [("mobilenetv2", {"convention": "torchvision"}), ("shufflenetv2", {"version": "v3"})],
)
def test_same_outputs_by_simpler_operations(backbone, options):
    detector = make_detector(backbone, **options)
    canvases = random_canvases(detector)
    network = inference_network(detector)
    found = {name: part.numpy() for name, part in network(canvases).items()}
    assert_close(found, keras_outputs(detector, canvases), detector.input_size)
    layers = list(network._flatten_layers(include_self=False))
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
    graph = tf.function(network).get_concrete_function(tf.TensorSpec((1, 64, 96, 3))).graph
    ranks = [out.shape.rank for op in graph.get_operations() for out in op.outputs]
    assert max(rank for rank in ranks if rank is not None) == 4


def test_detector_stays_as_it_is():
    detector = small_detector()
    before = [variable.numpy() for variable in detector.variables]
    network = inference_network(detector)
    network.set_weights([np.zeros(weight.shape) for weight in network.weights])
    for variable, values in zip(detector.variables, before, strict=True):
        np.testing.assert_array_equal(variable, values)
