from dataclasses import replace

import numpy as np
import pytest

from nets.versions import VERSIONS, check_input_size, strides_of, with_anchors, with_conv


@pytest.mark.parametrize("version", VERSIONS.values(), ids=str)
def test_published_anchors_are_smallest_first(version):
    anchors = version.anchor_array
    levels = 2 if "tiny" in version.name else 3
    assert anchors.shape == (levels, 3, 2)
    assert strides_of(anchors) == (8, 16, 32)[-levels:]
    assert (np.diff(anchors.prod(axis=-1)) > 0).all()
    assert (np.diff(anchors.prod(axis=-1), axis=0) > 0).all()


def test_other_anchors_are_kept_as_they_are():
    anchors = np.random.default_rng(0).uniform(1, 500, (3, 3, 2)).astype(np.float32)
    version = with_anchors(VERSIONS["v3"], anchors)
    np.testing.assert_array_equal(version.anchor_array, anchors)
    assert version == replace(VERSIONS["v3"], anchors=version.anchors)


def test_anchors_of_another_number_of_levels_are_an_error():
    with pytest.raises(ValueError, match="anchors for 3 levels; v4-tiny has 2"):
        with_anchors(VERSIONS["v4-tiny"], VERSIONS["v4"].anchors)


@pytest.mark.parametrize("field", ["neck", "conv", "activation"])
def test_an_unknown_choice_is_an_error_that_lists_the_known_ones(field):
    with pytest.raises(ValueError, match=f"{field} is 'dilated'; choose one of "):
        replace(VERSIONS["v4"], **{field: "dilated"})


def test_a_neck_without_channels_is_an_error():
    with pytest.raises(ValueError, match="neck_width is 0; it must be greater than 0"):
        replace(VERSIONS["v4"], neck_width=0)


def test_objectness_weights_of_another_number_of_levels_are_an_error():
    with pytest.raises(ValueError, match="objectness_balance for 2 levels; v4 has 3"):
        replace(VERSIONS["v4"], objectness_balance=VERSIONS["v4-tiny"].objectness_balance)


def test_plain_convolutions_bring_leaky_relu():
    assert with_conv(VERSIONS["v4"], "plain").activation == "leaky_relu"
    assert with_conv(VERSIONS["v4"], "separable").activation == "relu6"
    assert with_conv(VERSIONS["v3"], "separable").activation == "leaky_relu"


def test_input_sizes_are_multiples_of_32():
    check_input_size((32, 416))
    with pytest.raises(ValueError, match=r"input size 64x100: 100 is not .* 32, use 96 or 128"):
        check_input_size((64, 100))
    for side in (0, -32):
        with pytest.raises(ValueError, match=f"{side} is not a multiple of 32, use 32"):
            check_input_size((side, 32))


def test_input_sizes_have_an_upper_bound():
    check_input_size((4096, 4096))
    for size in ((416, 4128), (100_000, 416)):
        with pytest.raises(ValueError, match=r"is too large, use at most 4096 pixels per side"):
            check_input_size(size)
