import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.backbones import list_backbones
from nets.inference_network import inference_network
from tests.exported import keras_outputs, make_detector, random_canvases


def check(detector):
    canvases = random_canvases(detector)
    expected = keras_outputs(detector, canvases)
    network = inference_network(detector)
    found = {name: part.numpy() for name, part in network(canvases).items()}
    assert found.keys() == expected.keys()
    size = np.float32([detector.input_size[1], detector.input_size[0]] * 2)
    np.testing.assert_allclose(
        found["boxes"] * size, expected["boxes"] * size, rtol=1e-4, atol=0.01
    )
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)
    assert np.ptp(expected["scores"]) > 0.05
    kinds = {type(layer) for layer in network._flatten_layers(include_self=False)}
    assert not any(issubclass(kind, keras.layers.BatchNormalization) for kind in kinds)


ONE_PER_FAMILY = (
    *("mobilenetv1", "mobilenetv2", "mobilenetv3_small", "ghostnet"),
    *("shufflenetv2", "efficientnetb0"),
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ONE_PER_FAMILY else [pytest.mark.slow])
        for name in list_backbones()
    ],
)
def test_backbones(name):
    check(make_detector(name))


@pytest.mark.parametrize("version", ["v3", "v3-spp", "v3-tiny", "v4", "v4-tiny"])
def test_versions(version):
    check(make_detector(version=version))


def test_padding_of_torch():
    check(make_detector("mobilenetv2", convention="torchvision"))


def test_detector_stays_as_it_is():
    detector = make_detector()
    before = [variable.numpy() for variable in detector.variables]
    network = inference_network(detector)
    network.set_weights([np.zeros(weight.shape) for weight in network.weights])
    for variable, values in zip(detector.variables, before, strict=True):
        np.testing.assert_array_equal(variable, values)


def test_tensors_have_at_most_four_dimensions():
    network = inference_network(make_detector("shufflenetv2"))
    graph = tf.function(network).get_concrete_function(tf.TensorSpec((1, 64, 96, 3))).graph
    ranks = [out.shape.rank for op in graph.get_operations() for out in op.outputs]
    assert max(rank for rank in ranks if rank is not None) == 4
