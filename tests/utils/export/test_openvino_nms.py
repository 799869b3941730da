"""Non-maximum suppression by operators of OpenVINO finds what `nets.nms` finds."""

import importlib.util

import numpy as np
import pytest

from nets.nms import suppress
from tests.fake_runtime import make_metadata
from utils.export.openvino_nms import add_suppression
from utils.inference.engines.openvino import import_openvino
from utils.inference.thresholds import Thresholds

# Importing OpenVINO by pytest.importorskip would send its usage events.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)
THRESHOLDS = Thresholds(confidence=0.5, iou=0.5, max_boxes=8)


def run_suppression(boxes, scores, batch=-1):
    """Suppresses boxes (B, P, 4) with scores (B, P, C) by a model that has nothing else."""
    openvino = import_openvino()
    from openvino import opset15 as ops

    inputs = [
        ops.parameter([batch, *array.shape[1:]], name=name)
        for name, array in (("all_boxes", boxes), ("all_scores", scores))
    ]
    results = []
    for name, value in zip(("boxes", "scores"), inputs, strict=True):
        value.output(0).set_names({value.get_friendly_name()})
        result = ops.result(ops.add(value, np.float32(0)))
        result.output(0).set_names({name})
        results.append(result)
    metadata = make_metadata(thresholds=THRESHOLDS, nms=True)
    model = add_suppression(openvino.Model(results, inputs, "all"), metadata)
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({"all_boxes": boxes, "all_scores": scores})
    return {name: found[name] for name in ("boxes", "scores", "labels", "counts")}


@pytest.mark.parametrize("batch", [-1, 4])
def test_images_with_none_few_and_many_objects(batch):
    random = np.random.default_rng(1)
    corners = random.uniform(0, 1, (4, 60, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(axis=2), corners.max(axis=2)], axis=-1)
    scores = random.uniform(0, 1, (4, 60, 3)).astype(np.float32)
    scores *= np.float32([0.4, 0.51, 0.53, 1])[:, None, None]
    found = run_suppression(boxes, scores, batch)
    expected = suppress(boxes, scores, *vars(THRESHOLDS).values())
    assert found["counts"][0] == 0 and found["counts"][3] == 8
    assert 0 < found["counts"][1] < 8
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        np.testing.assert_array_equal(value, expected[name])


def test_thresholds_are_exclusive():
    # IoU of the second box with the first is exactly 0.5, of the third a little more.
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 0.5625, 1], [2, 2, 3, 3]]])
    scores = np.float32([[[0.9], [0.8], [0.7], [0.5]]])  # the last one is at the threshold
    found = run_suppression(boxes, scores)
    assert found["counts"] == 2
    np.testing.assert_array_equal(found["scores"][0], np.float32([0.9, 0.8] + [0] * 6))
    np.testing.assert_array_equal(found["boxes"][0, :3], [*boxes[0, :2], [0, 0, 0, 0]])
