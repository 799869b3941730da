import numpy as np
import pytest
from pycocotools import mask as masks

from utils.data.formats.rle import outline_box


@pytest.mark.parametrize("seed", range(8))
def test_masks_have_the_box_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((130, 90), np.uint8)
    top, left = rng.integers(0, 60, 2)
    mask[top : top + rng.integers(1, 80), left : left + rng.integers(1, 40)] = 1
    if seed % 2:
        mask |= rng.random(mask.shape) > 0.999
    encoded = masks.encode(np.asfortranarray(mask))
    x, y, width, height = masks.toBbox(encoded)
    compressed = {"size": [130, 90], "counts": encoded["counts"].decode()}
    assert outline_box(compressed) == (x, y, x + width, y + height)
    changes = np.flatnonzero(np.diff(np.r_[0, mask.T.ravel()])).tolist()
    plain = {"size": [130, 90], "counts": np.diff([0, *changes, mask.size]).tolist()}
    assert outline_box(plain) == (x, y, x + width, y + height)


@pytest.mark.parametrize(
    "outline",
    [
        *(None, [], {}, [["x"]], [1, 2, 3, 4], {"size": [], "counts": [1, 2]}),
        *({"size": [4, 4], "counts": [16]}, {"size": [0, 4], "counts": [1, 2]}),
    ],
)
def test_an_empty_or_malformed_outline_has_no_box(outline):
    assert outline_box(outline) is None
