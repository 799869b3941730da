import json

import numpy as np

from utils.inference.detections import Detections, to_json


def test_json_has_the_keys_of_the_contract_and_plain_numbers():
    found = Detections(
        boxes=np.array([[1.004, 2, 30.5, 40], [0, 0, 5, 5]], np.float32),
        scores=np.array([0.98765, 0.5], np.float32),
        labels=np.array([1, 0], np.int32),
    )
    entry = to_json("照片/a.jpg", (48, 64), found, ["cat", "dog"])
    assert json.loads(json.dumps(entry)) == {
        "source": "照片/a.jpg",
        "width": 64,
        "height": 48,
        "detections": [
            {"label": "dog", "score": 0.9876, "box": [1.0, 2.0, 30.5, 40.0]},
            {"label": "cat", "score": 0.5, "box": [0.0, 0.0, 5.0, 5.0]},
        ],
    }


def test_json_without_detections_has_an_empty_list():
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert len(nothing) == 0
    assert to_json("a.jpg", (4, 6), nothing, ["cat"])["detections"] == []
