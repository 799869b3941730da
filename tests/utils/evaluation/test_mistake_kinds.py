"""The kinds of mistakes in one image, worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from utils.data.samples import Sample
from utils.evaluation.mistake_kinds import find_mistakes
from utils.inference.detections import Detections

CAT, DOG = 0, 1
OBJECT = (0, 0, 99, 99)  # 100x100 pixels, as VOC counts inclusively
IOU_60 = (0, 0, 99, 59)
IOU_40 = (0, 0, 99, 39)
IOU_5 = (0, 0, 99, 4)
FAR = (150, 150, 199, 199)


def sample(*objects, difficult=()):
    """An image of 200x200 pixels with objects (label, box)."""
    return Sample(
        "a",
        Path("a.jpg"),
        np.float32([box for _, box in objects]).reshape(-1, 4),
        np.int32([label for label, _ in objects]),
        np.isin(np.arange(len(objects)), difficult),
        200,
        200,
    )


def detections(*found):
    """Detections (label, score, box)."""
    return Detections(
        np.float32([box for _, _, box in found]).reshape(-1, 4),
        np.float32([score for _, score, _ in found]),
        np.int32([label for label, _, _ in found]),
    )


def kinds(objects, found, **options):
    """Kind, size, object and detection of each mistake."""
    mistakes = find_mistakes(sample(*objects, **options), detections(*found))
    return [(each.kind, round(each.size, 4), each.object, each.detection) for each in mistakes]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], [("missed", 0.495, 0, None)]),  # 99 of 200 pixels wide and high
        ([(CAT, 0.9, IOU_60)], []),
        ([(CAT, 0.9, IOU_40)], [("placed", 0.6, 0, 0)]),
        ([(CAT, 0.9, IOU_5)], [("false", 0.9, None, 0), ("missed", 0.495, 0, None)]),
        ([(DOG, 0.9, IOU_60)], [("confused", 0.9, 0, 0)]),
        ([(DOG, 0.9, IOU_40)], [("false", 0.9, None, 0), ("missed", 0.495, 0, None)]),
        ([(CAT, 0.9, OBJECT), (CAT, 0.8, IOU_60)], [("false", 0.8, None, 1)]),  # a duplicate
        ([(CAT, 0.9, OBJECT), (DOG, 0.8, FAR)], [("false", 0.8, None, 1)]),
    ],
    ids=["missed", "found", "placed", "low", "confused", "other", "duplicate", "background"],
)
def test_one_cat(found, expected):
    assert kinds([(CAT, OBJECT)], found) == expected


def test_the_object_with_the_higher_iou_decides():
    # IoU 0.75 with the cat, which another detection matches, and 0.4 with the dog.
    objects = [(CAT, (0, 0, 99, 29)), (DOG, OBJECT)]
    assert kinds(objects, [(DOG, 0.7, IOU_40), (CAT, 0.9, (0, 0, 99, 29))]) == [
        ("confused", 0.7, 0, 0),
        ("missed", 0.495, 1, None),
    ]
    assert kinds(objects[1:], [(DOG, 0.7, IOU_40)]) == [("placed", 0.6, 0, 0)]


def test_difficult_objects_are_not_missed():
    assert kinds([(CAT, OBJECT)], [], difficult=[0]) == []
    assert kinds([(CAT, OBJECT)], [(CAT, 0.9, OBJECT)], difficult=[0]) == []


def test_image_without_objects():
    assert kinds([], []) == []
    assert kinds([], [(CAT, 0.6, FAR)]) == [("false", 0.6, None, 0)]
