from pathlib import Path

import numpy as np
import pytest

from nets.anchors import DEFAULT_ANCHORS, V3_ANCHORS, V4_ANCHORS
from nets.versions import VERSIONS, strides_of
from utils.data.anchors import load_anchors, save_anchors

MODEL_DATA = Path(__file__).parents[2] / "model_data"


@pytest.mark.parametrize("version", VERSIONS)
def test_published_anchors_are_smallest_first(version):
    anchors = DEFAULT_ANCHORS[version]
    levels = 2 if "tiny" in version else 3
    assert anchors.shape == (levels, 3, 2)
    assert strides_of(anchors) == (8, 16, 32)[-levels:]
    assert (np.diff(anchors.prod(axis=-1)) > 0).all()
    assert (np.diff(anchors.prod(axis=-1), axis=0) > 0).all()


@pytest.mark.parametrize(
    "text",
    [
        "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326",  # predecessors'
        "10,13  16,30  33,23  30,61  62,45  59,119  116,90  156,198  373,326\n",
        "10 13\n16 30\n33 23\n30 61\n62 45\n59 119\n116 90\n156 198\n373 326\n",
        "10.0,13,16,30,33,23,30,61,62,45,59,119,116,90,156,198,373,326,",
    ],
)
def test_commas_and_spaces_as_one_likes(tmp_path, text):
    (tmp_path / "anchors.txt").write_text(text)
    np.testing.assert_array_equal(load_anchors(tmp_path / "anchors.txt"), V3_ANCHORS)


@pytest.mark.parametrize("levels", [2, 3])
def test_a_file_keeps_every_digit(tmp_path, levels):
    anchors = np.random.default_rng(0).uniform(1, 500, (levels, 3, 2)).astype(np.float32)
    save_anchors(tmp_path / "anchors.txt", anchors)
    loaded = load_anchors(tmp_path / "anchors.txt")
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, anchors)


@pytest.mark.parametrize(
    "text", ["", "1,2 3,4", "1 " * 20, "1 " * 17 + "x", "1 " * 17 + "0", "1 " * 17 + "nan"]
)
def test_anything_else_is_an_error_that_names_the_file(tmp_path, text):
    (tmp_path / "anchors.txt").write_text(text)
    with pytest.raises(ValueError, match=r"anchors\.txt"):
        load_anchors(tmp_path / "anchors.txt")


def test_the_shipped_file_holds_v4s():
    np.testing.assert_array_equal(load_anchors(MODEL_DATA / "yolo_anchors.txt"), V4_ANCHORS)
