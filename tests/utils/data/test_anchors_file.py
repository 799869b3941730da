from pathlib import Path

import numpy as np
import pytest

from nets.versions import VERSIONS
from utils.data.anchors import load_anchors, save_anchors

MODEL_DATA = Path(__file__).parents[3] / "model_data"


@pytest.mark.parametrize(
    "text",
    [
        "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326",  # predecessors'
        "10,13  16,30  33,23  30,61  62,45  59,119  116,90  156,198  373,326\n",
        "10 13\n16 30\n33 23\n30 61\n62 45\n59 119\n116 90\n156 198\n373 326\n",
        "10.0,13,16,30,33,23,30,61,62,45,59,119,116,90,156,198,373,326,",
        "\ufeff10 13 16 30 33 23 30 61 62 45 59 119 116 90 156 198 373 326",  # Windows' editor
    ],
)
def test_numbers_are_separated_by_commas_or_spaces(tmp_path, text):
    (tmp_path / "anchors.txt").write_text(text)
    np.testing.assert_array_equal(
        load_anchors(tmp_path / "anchors.txt"), VERSIONS["v3"].anchor_array
    )


@pytest.mark.parametrize("levels", [2, 3])
def test_saved_anchors_keep_all_digits(tmp_path, levels):
    anchors = np.random.default_rng(0).uniform(1, 500, (levels, 3, 2)).astype(np.float32)
    save_anchors(tmp_path / "anchors.txt", anchors)
    loaded = load_anchors(tmp_path / "anchors.txt")
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, anchors)


@pytest.mark.parametrize(
    "text", ["", "1,2 3,4", "1 " * 20, "1 " * 17 + "x", "1 " * 17 + "0", "1 " * 17 + "nan"]
)
def test_other_content_is_an_error_that_names_the_file(tmp_path, text):
    (tmp_path / "anchors.txt").write_text(text)
    with pytest.raises(ValueError, match=r"anchors\.txt"):
        load_anchors(tmp_path / "anchors.txt")


def test_the_shipped_file_holds_the_anchors_of_v4():
    shipped = load_anchors(MODEL_DATA / "yolo_anchors.txt")
    np.testing.assert_array_equal(shipped, VERSIONS["v4"].anchor_array)
