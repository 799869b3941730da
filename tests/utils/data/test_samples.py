from pathlib import Path

import numpy as np
import pytest

from tests.vocset import add_image
from utils.data.annotation import read_samples
from utils.data.imagesets import ImageRef
from utils.data.samples import Sample, Samples

FIELDS = ("boxes", "labels", "difficult", "crowd")


def make_sample(number):
    """Makes a sample with as many objects as its number says."""
    boxes = np.arange(4 * number, dtype=np.float32).reshape(-1, 4) + number
    return Sample(
        f"id {number}",
        Path(f"folder {number % 2}") / f"{number}.jpg",
        boxes,
        np.arange(number, dtype=np.int32),
        np.arange(number) % 2 == 0,
        width=100 + number,
        height=200 + number,
        crowd=np.arange(number) % 3 == 0,
    )


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.image_id, one.image) == (other.image_id, other.image)
        assert (one.width, one.height) == (other.width, other.height)
        for field in FIELDS:
            values = getattr(one, field)
            np.testing.assert_array_equal(values, getattr(other, field))
            assert values.dtype == getattr(other, field).dtype


@pytest.fixture
def objects():
    return [make_sample(number) for number in (2, 0, 3, 1)]


def test_columns_hold_the_samples(objects):
    samples = Samples.of(objects)
    assert_equal(samples, objects)
    assert samples.counts.tolist() == [2, 0, 3, 1]
    assert samples.image(2) == Path("folder 1/3.jpg")
    assert Samples.of(samples) is samples


def test_samples_are_indexed_like_a_list(objects):
    samples = Samples.of(objects)
    assert_equal([samples[-1], samples[np.int64(2)]], [objects[-1], objects[2]])
    for part in (slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(4, 9)):
        assert_equal(samples[part], objects[part])
    for index in (4, -5):
        with pytest.raises(IndexError):
            samples[index]


def test_rows_are_taken_in_any_order_and_parts_are_joined(objects):
    samples = Samples.of(objects)
    assert_equal(samples.take(np.array([3, 0, 0])), [objects[3], objects[0], objects[0]])
    joined = Samples.joined([samples, Samples.of([]), samples[2:]])
    assert_equal(joined, objects + objects[2:])


def test_no_sample():
    for samples in (Samples.of([]), Samples.joined([Samples.of([])])):
        assert not samples and list(samples) == [] and samples.boxes.shape == (0, 4)


def test_samples_are_read_in_the_order_of_the_list(tmp_path):
    """From two folders; `b` has a box that crosses the border, so it is checked on its own."""
    voc7, voc12 = tmp_path / "VOC2007", tmp_path / "VOC2012"
    for voc, name, box in (
        (voc7, "a", (1, 2, 30, 40)),
        (voc12, "b", (1, 2, 90, 40)),
        (voc7, "c", (5, 6, 7, 8)),
        (voc12, "d", (9, 9, 20, 30)),
    ):
        add_image(voc, name, [("cat", box)], (60, 80))
    order = [(voc12, "b"), (voc7, "c"), (voc12, "d"), (voc12, "x"), (voc7, "a"), (voc7, "c")]
    samples, faults = read_samples([ImageRef(*each) for each in order], ["cat"])
    found = [(each.image.parents[1], each.image_id) for each in samples]
    assert found == [each for each in order if each[1] != "x"]
    boxes = [(1, 2, 90, 40), (5, 6, 7, 8), (9, 9, 20, 30), (1, 2, 30, 40), (5, 6, 7, 8)]
    assert [tuple(each.boxes[0]) for each in samples] == boxes
    assert [fault.kind for fault in faults] == ["box crosses border", "no such image"]
