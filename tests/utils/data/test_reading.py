import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.vocset import add_image
from utils.config import Augmentation
from utils.data.annotation import read_samples
from utils.data.dataset import BatchSettings, BatchStream
from utils.data.imagesets import ImageRef
from utils.data.reading import PatientReader, Unreadable, UnreadableImages, read_patiently
from utils.errors import JobError, UserError

STILL = Augmentation(jitter=0, scale=(1, 1), flip=0, hue=0, saturation=0, value=0, mosaic=0)
SETTINGS = BatchSettings((64, 96), batch_size=5, max_boxes=8, augmentation=STILL, seed=3)
SIZE = (60, 80)


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Records the pauses instead of waiting."""
    made = []
    monkeypatch.setattr("utils.data.reading.time.sleep", made.append)
    return made


@pytest.fixture
def images(tmp_path):
    return [add_image(tmp_path, f"image{i}", [("a", (10, 5, 40, 45))])[0] for i in range(5)]


@pytest.fixture
def samples(images, tmp_path):
    return read_samples([ImageRef(tmp_path, image.stem) for image in images], ["a"])[0]


def test_an_image_that_is_missing_for_a_moment_is_read_again(images, pauses, monkeypatch):
    content = images[0].read_bytes()
    images[0].unlink()

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            images[0].write_bytes(content)

    monkeypatch.setattr("utils.data.reading.time.sleep", pause)
    assert read_patiently(images[0]).shape == (*SIZE, 3)
    assert pauses == [0.1, 0.5]


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_an_image_that_stays_unreadable_is_an_error_after_four_attempts(images, pauses, damage):
    images[0].unlink()
    if damage == "empty":
        images[0].touch()
    with pytest.raises((UserError, FileNotFoundError), match=r"image0\.png"):
        read_patiently(images[0])
    assert pauses == [0.1, 0.5, 2.0]


def test_an_unreadable_image_is_waited_for_only_once(images, pauses):
    reader = PatientReader()
    images[0].unlink()
    missing = Unreadable(images[0], f"cannot read image {images[0]}: no such file or directory")
    assert reader.read(images[0], SIZE, SIZE) == missing
    assert pauses == [0.1, 0.5, 2.0]
    pauses.clear()
    assert reader.read(images[0], SIZE, SIZE) == missing
    assert not pauses
    assert reader.read(images[1], SIZE, SIZE).shape == (*SIZE, 3)


def unreadable(*names):
    return [Unreadable(Path(name), f"cannot read {name}") for name in names]


def test_an_unreadable_image_is_reported_once():
    images = UnreadableImages(count=5)
    images.count(unreadable("a.png"))
    (warning,) = images.take_warnings()
    assert warning.startswith("cannot read a.png; grey is used instead")
    assert "1 unreadable, at most 1 before training stops" in warning
    images.count(unreadable("a.png"))
    assert images.take_warnings() == []


@pytest.mark.parametrize(("count", "allowed"), [(1, 0), (2, 1), (199, 1), (300, 3)])
def test_more_than_one_percent_of_unreadable_images_is_an_error(count, allowed):
    images = UnreadableImages(count)
    images.count(unreadable(*map(str, range(allowed))))
    with pytest.raises(JobError, match=f"{allowed + 1} images have become unreadable"):
        images.count(unreadable("last.png"))


def test_ten_unreadable_images_in_a_row_are_an_error():
    images = UnreadableImages(count=100_000)
    images.count(unreadable(*map(str, range(9))))
    images.count([None, *unreadable(*map(str, range(9, 18)))])
    with pytest.raises(JobError, match="19 images have become unreadable"):
        images.count(unreadable("last.png"))


def test_grey_takes_the_place_of_an_image_that_vanishes(samples, capsys):
    intact = BatchStream(samples, SETTINGS).batch(0, mosaic=False)
    stream = BatchStream(samples, SETTINGS)
    row = stream.sources(0, mosaic=False).index(samples[2].image)
    samples[2].image.unlink()
    batches = stream.stream(0, lambda step: False)
    for *_, labels in itertools.islice(batches, 3):
        assert (labels >= 0).sum() == 4
    batches.close()
    assert capsys.readouterr().err.count(f"warning: cannot read image {samples[2].image}") == 1
    images, boxes, labels = stream.batch(0, mosaic=False)
    assert np.unique(images[row]).tolist() == [128]
    assert (labels[row] == -1).all()
    others = np.arange(5) != row
    for found, expected in zip((images, boxes, labels), intact, strict=True):
        np.testing.assert_array_equal(found[others], expected[others])


def test_grey_takes_the_place_of_one_part_of_a_mosaic(samples):
    mosaic = dataclasses.replace(STILL, mosaic=1.0, mixup=1.0)
    stream = BatchStream(samples, dataclasses.replace(SETTINGS, augmentation=mosaic, max_boxes=16))
    _, _, before = stream.batch(0, mosaic=True)
    samples[2].image.unlink()
    images, _, after = stream.batch(0, mosaic=True)
    assert 0 < (after >= 0).sum() < (before >= 0).sum()
    assert images.std() > 10


def test_training_stops_if_no_image_can_be_read(samples):
    for sample in samples:
        sample.image.write_bytes(b"")
    stream = BatchStream(samples, SETTINGS).stream(0, lambda step: True)
    with pytest.raises(JobError, match="images have become unreadable: check the disk"):
        next(stream)
