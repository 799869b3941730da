"""What tests of loading share: a small detector, and checks of the values of its weights."""

import keras
import numpy as np
import pytest

from nets.detector import Detector
from utils.errors import UserError
from utils.weights.loading import load_weights, open_weights


def make_detector(num_classes=3, seed=0, **options):
    keras.utils.set_random_seed(seed)
    options = {"backbone": "mobilenetv1", "width": 0.25} | options
    return Detector(num_classes=num_classes, version="v3", input_size=(32, 32), **options)


def load(model, source, backbone="mobilenetv1", width=None):
    return load_weights(model, open_weights(str(source), backbone, width))


def values_of(model):
    return {weight.path: weight.numpy() for weight in model.weights}


def assert_same(values, expected):
    for name in values:
        np.testing.assert_array_equal(values[name], expected[name], err_msg=name)


def assert_refused(model, source, match, backbone="mobilenetv1"):
    """Loading raises a `UserError` and changes no weight."""
    before = values_of(model)
    with pytest.raises(UserError, match=match):
        load(model, source, backbone)
    assert_same(values_of(model), before)


def check_tensors(tensors):
    """Checks that tensors by key are arrays of numbers with their names."""
    for key, (name, values) in tensors.items():
        assert isinstance(key, str) and isinstance(name, str)
        assert isinstance(values, np.ndarray)
