import dataclasses
import itertools
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import utils.data.dataset
from tests.vocset import add_image
from utils.config import Augmentation
from utils.data.annotation import read_samples
from utils.data.augment import Picture, Placement
from utils.data.dataset import (
    BatchSettings,
    BatchStream,
    boxes_needed,
    padded_counts,
)
from utils.data.images import read_image
from utils.data.imagesets import ImageRef
from utils.errors import JobError, UserError

SIZE = (64, 96)
STILL = Augmentation(jitter=0, scale=(1, 1), flip=0, hue=0, saturation=0, value=0, mosaic=0)


@pytest.fixture
def samples(tmp_path):
    for i in range(5):
        objects = [("a", (10 * j, 5, 10 * j + 30, 45)) for j in range(i)]
        add_image(tmp_path, f"image {i}", objects, (60, 80 + 10 * i))
    refs = [ImageRef(tmp_path, f"image {i}") for i in range(5)]
    return read_samples(refs, ["a"])[0]


SETTINGS = BatchSettings(SIZE, batch_size=2, max_boxes=8, augmentation=Augmentation(), seed=3)


def stream_of(samples, **changes):
    return BatchStream(samples, dataclasses.replace(SETTINGS, **changes))


def take(stream, count, **options):
    batches = stream.stream(**({"start_step": 0, "mosaic": lambda step: True} | options))
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_workers_prepare_the_two_halves_of_a_batch(samples):
    settings = dataclasses.replace(SETTINGS, batch_size=4)
    whole = BatchStream(samples, settings).batch(2, mosaic=True)
    for rows in (range(2), range(2, 4)):
        part = BatchStream(samples, settings, rows=rows)
        ((step, *batch),) = take(part, 1, start_step=2)
        assert step == 2
        assert_same(batch, [array[rows.start : rows.stop] for array in whole])


def test_shapes_types_and_ranges_of_a_batch(samples):
    images, boxes, labels = stream_of(samples, batch_size=7).batch(0, mosaic=True)
    assert (images.shape, images.dtype) == ((7, *SIZE, 3), np.uint8)
    assert (boxes.shape, boxes.dtype) == ((7, 8, 4), np.float32)
    assert (labels.shape, labels.dtype) == ((7, 8), np.int32)
    assert set(np.unique(labels)) == {-1, 0}
    assert not boxes[labels < 0].any()
    corners = boxes[labels >= 0]
    assert (corners >= 0).all()
    assert (corners <= (SIZE[1], SIZE[0]) * 2).all()
    assert (corners[:, 2:] - corners[:, :2] >= 2).all()


def test_a_batch_is_a_function_of_seed_step_and_mosaic(samples):
    batch = stream_of(samples).batch(4, mosaic=True)
    assert_same(batch, stream_of(samples).batch(4, mosaic=True))
    for other in (
        stream_of(samples, seed=4).batch(4, mosaic=True),
        stream_of(samples).batch(5, mosaic=True),
    ):
        assert (batch[0] != other[0]).any()


def test_a_smaller_size_gives_the_same_images_scaled(samples):
    stream = stream_of(samples, augmentation=Augmentation(mosaic=0))
    half = (SIZE[0] // 2, SIZE[1] // 2)
    (_, *full), (_, *small) = take(stream, 1)[0], take(stream, 1, size=lambda step: half)[0]
    assert_same(small, stream.batch(0, mosaic=True, size=half))
    assert small[0].shape[1:3] == half
    np.testing.assert_allclose(2 * small[1], full[1], rtol=1e-5)
    np.testing.assert_array_equal(small[2], full[2])


def test_the_stream_yields_the_same_batches_from_threads(samples):
    stream = BatchStream(samples, SETTINGS, threads=3)
    for step, *batch in take(stream, 6):
        assert_same(batch, stream.batch(step, mosaic=True))


def test_a_stream_can_start_at_any_step(samples):
    all_steps, late = take(stream_of(samples), 6), take(stream_of(samples), 2, start_step=4)
    assert [batch[0] for batch in late] == [4, 5]
    for first, second in zip(all_steps[4:], late, strict=True):
        assert_same(first, second)


def test_every_epoch_is_another_permutation_of_the_samples(samples):
    stream = stream_of(samples, batch_size=1, augmentation=STILL)
    epochs = [[stream.sources(e * 5 + i, False)[0].stem for i in range(5)] for e in range(3)]
    assert all(sorted(epoch) == [f"image {i}" for i in range(5)] for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_a_dataset_smaller_than_a_batch(samples):
    stream = stream_of(samples[1:3], batch_size=8, augmentation=STILL)
    assert stream.steps_per_epoch == 1
    _, _, labels = stream.batch(0, mosaic=False)
    assert sorted((labels >= 0).sum(axis=1)) == [1] * 4 + [2] * 4
    assert stream_of(samples).steps_per_epoch == 3


def test_boxes_are_clipped_to_the_image(tmp_path):
    add_image(tmp_path, "x", [("a", (-5, 10, 90, 50))], (60, 80))
    samples, _ = read_samples([ImageRef(tmp_path, "x")], ["a"])
    _, boxes, _ = stream_of(samples, batch_size=1, augmentation=STILL).batch(0, mosaic=False)
    assert boxes[0, 0, 2] - boxes[0, 0, 0] == pytest.approx(64 / 60 * 80)


def test_difficult_objects_are_included(tmp_path):
    add_image(tmp_path, "x", [("a", (10, 10, 50, 50), 1)])
    samples, _ = read_samples([ImageRef(tmp_path, "x")], ["a"])
    _, _, labels = stream_of(samples, batch_size=1, augmentation=STILL).batch(0, mosaic=False)
    assert (labels >= 0).sum() == 1


def test_the_largest_of_too_many_objects_are_kept(tmp_path):
    sides = (12, 40, 8, 30)
    objects = [(name, (0, 0, side, side)) for name, side in zip("abaa", sides, strict=True)]
    add_image(tmp_path, "x", objects, (64, 96))
    samples, _ = read_samples([ImageRef(tmp_path, "x")], ["a", "b"])
    stream = stream_of(samples, batch_size=1, augmentation=STILL, max_boxes=2)
    _, boxes, labels = stream.batch(0, mosaic=False)
    assert boxes[0, :, 2].tolist() == [40, 30]
    assert labels[0].tolist() == [1, 0]


def test_mixup_averages_the_pixels_and_keeps_the_objects_of_both(tmp_path, monkeypatch):
    objects = ("a", (8, 8, 40, 40)), ("b", (50, 10, 90, 60))
    for name, level, drawn in zip("xy", (40, 200), objects, strict=True):
        add_image(tmp_path, name, [drawn], image=np.full((*SIZE, 3), level, np.uint8))
    samples, _ = read_samples([ImageRef(tmp_path, name) for name in "xy"], ["a", "b"])

    def filling(index):
        placement = Placement(SIZE, 0, 0, SIZE[1], SIZE[0], False, (0, 0, SIZE[1], SIZE[0]))
        return Picture(((index, placement),), (1, 1, 0.5))

    monkeypatch.setattr("utils.data.training_images.plan", lambda *_: [filling(0), filling(1)])
    images, boxes, labels = stream_of(samples, batch_size=1).batch(0, mosaic=True)
    assert (images == 60).all()  # (40 + 200) / 2, half as bright
    np.testing.assert_array_equal(boxes[0, :2], [[8, 8, 40, 40], [50, 10, 90, 60]])
    assert labels[0, :3].tolist() == [0, 1, -1]


def test_sources_are_the_files_read_for_a_batch(samples, monkeypatch):
    stream = stream_of(samples)
    opened = []

    def read(path, *args):
        if threading.current_thread() is threading.main_thread():  # else of a stream closed earlier
            opened.append(path)
        return read_image(path, *args)

    monkeypatch.setattr("utils.data.reading.read_image", read)
    for step, mosaic in itertools.product(range(4), (False, True)):
        opened.clear()
        stream.batch(step, mosaic)
        assert sorted(set(opened)) == sorted(stream.sources(step, mosaic))


def test_mosaic_and_size_are_called_once_per_batch_a_few_steps_ahead(samples):
    stream, calls = stream_of(samples), {"mosaic": [], "size": []}

    def mosaic(step):
        calls["mosaic"].append(step)
        return step % 2 == 0

    def size(step):
        calls["size"].append(step)
        return SIZE if step < 2 else (32, 32)

    batches = stream.stream(0, mosaic, size)
    for step, *batch in itertools.islice(batches, 6):
        assert_same(batch, stream.batch(step, step % 2 == 0, SIZE if step < 2 else (32, 32)))
        begun = step + 1 + utils.data.dataset.PREFETCH
        assert calls["mosaic"] == calls["size"] == list(range(begun))
    batches.close()


def test_storage_that_does_not_respond_is_an_error(samples, monkeypatch):
    response = threading.Event()
    monkeypatch.setattr(utils.data.dataset, "DECODE_TIMEOUT", 0.05)
    monkeypatch.setattr("utils.data.reading.read_image", lambda *_: response.wait(20))
    with pytest.raises(JobError, match="no image"):
        take(stream_of(samples), 1)
    response.set()


def test_closing_stops_the_threads(samples):
    batches = stream_of(samples).stream(0, lambda step: True)
    next(batches)
    threads = [each for each in threading.enumerate() if each.name.startswith("look-ahead")]
    assert threads
    batches.close()
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()


def test_no_sample_is_an_error():
    with pytest.raises(UserError, match="no image"):
        stream_of([])


def test_boxes_needed(samples):
    # 0 to 4 objects per image: the 95th percentile is 3.8, and 5 x 4 = 20 is rounded up to 24.
    assert boxes_needed(samples, Augmentation()) == 24
    assert boxes_needed(samples, Augmentation(mosaic=0)) == 8
    assert boxes_needed([*samples] * 100 + [samples[4]] * 10000, Augmentation()) == 24


def test_batches_have_at_most_three_sizes_and_small_ones_a_single_size():
    assert padded_counts(800) == [56, 200, 800]
    assert padded_counts(600) == [40, 152, 600]
    assert padded_counts(136) == [40, 136]
    assert [padded_counts(size) for size in (8, 48, 96)] == [[8], [48], [96]]


def test_a_batch_is_padded_to_the_smallest_size_that_holds_its_objects(samples):
    def crowd(count):
        boxes = np.tile(samples[4].boxes[:1], (count, 1))
        return dataclasses.replace(samples[4], boxes=boxes, labels=np.zeros(count, np.int32))

    crowds = [crowd(count) for count in (3, 56, 57, 200, 800)]
    settings = {"batch_size": 1, "augmentation": STILL, "max_boxes": 800}
    found = {}
    for _, _, boxes, labels in take(stream_of(crowds, **settings), 5, mosaic=lambda step: False):
        assert boxes.shape[:2] == labels.shape
        found[int((labels >= 0).sum())] = labels.shape[1]
    assert found == {3: 56, 56: 56, 57: 200, 200: 200, 800: 800}
    _, _, labels = stream_of(crowds, **settings | {"batch_size": 5}).batch(0, mosaic=False)
    assert labels.shape == (5, 800)
    assert sorted((labels >= 0).sum(axis=1)) == [3, 56, 57, 200, 800]


def test_boxes_needed_are_limited_by_the_assigner(samples):
    crowd = dataclasses.replace(samples[0], boxes=np.ones((600, 4)), labels=np.zeros(600))
    assert boxes_needed([crowd], Augmentation(mosaic=0)) == 600
    assert boxes_needed([crowd], Augmentation()) == 800


def test_tensorflow_is_not_imported():
    modules = "utils.data.dataset, utils.data.datacheck, utils.data.anchors, nets.versions"
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
