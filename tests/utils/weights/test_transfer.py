"""Weights reach a backbone by the names of its layers."""

import keras
import numpy as np
import pytest

from nets.backbones import build_backbone, build_classifier
from utils.weights.transfer import copy_by_name


def test_all_weights_come_from_keras_applications():
    source = keras.applications.MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)
    backbone = build_backbone("mobilenetv1", (32, 32, 3), 0.25)
    loaded, missing = copy_by_name(source, backbone)
    assert len(loaded) == 2 * (1 + 2 * 13)  # convolutions and their normalizations
    assert missing == []
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(backbone(images)[-1], source(images / 127.5 - 1), atol=1e-5)


def test_what_the_source_lacks_is_named():
    backbone = build_backbone("mobilenetv1", (32, 32, 3), 0.25)
    classifier = build_classifier("mobilenetv1", (32, 32, 3), 0.25, classes=3)
    loaded, missing = copy_by_name(backbone, classifier)
    assert missing == ["conv_preds"]
    assert copy_by_name(classifier, backbone) == (loaded, [])


def test_another_width_is_an_error_that_names_the_layer():
    narrow, wide = (build_backbone("mobilenetv1", (32, 32, 3), width) for width in (0.25, 0.5))
    before = [v.numpy() for v in wide.variables]
    with pytest.raises(ValueError, match=r"layer conv1: .*\(3, 3, 3, 8\).*\(3, 3, 3, 16\)"):
        copy_by_name(narrow, wide)
    for variable, value in zip(wide.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
