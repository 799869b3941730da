import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from tests.vocset import add_image, add_list, ids
from utils.data.images import read_image
from utils.errors import UserError
from utils.export.calibration import read_calibration_set
from utils.export.run_images import find_run_images, validation_samples
from utils.inference.predictor import Predictor
from utils.run import Run, RunDirectory

SIZE = (64, 96)
SIDES = ((60, 80), (300, 40), (50, 50), (20, 170), (64, 96))  # of the images


@pytest.fixture
def run(tmp_path, run_config):
    """A run of five training images and one validation image."""
    data = tmp_path / "data"
    for number, size in enumerate(SIDES):
        add_image(data / "VOC2007", f"t{number}", [("cat", (2, 3, 15, 14))], size)
    add_image(data / "VOC2012", "v", [("cat", (2, 3, 30, 40))])
    path = tmp_path / "run"
    path.mkdir()
    names = {"train": [f"VOC2007/t{number}" for number in range(5)], "val": ["VOC2012/v"]}
    RunDirectory(path).write_images(names)
    config = dataclasses.replace(run_config, data=str(data), resize="letterbox")
    return Run(path, config, ["cat"], None)


def canvases_of_predictor(run, numbers, stretch):
    engine = SimpleNamespace(
        input_size=SIZE,
        batch_size=len(numbers),
        strides=(8, 16, 32),
        canvases=np.zeros((len(numbers), *SIZE, 3), np.float32),
        detect=lambda count: [],
    )
    folder = run.path.parent / "data/VOC2007/JPEGImages"
    images = [read_image(folder / f"t{number}.png", SIZE) for number in numbers]
    with pytest.raises(ValueError, match="shorter"):  # there are no detections
        Predictor(engine, stretch)(images)
    return engine.canvases


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_images_are_those_of_prediction(run, resize):
    found = read_calibration_set(find_run_images(run), 5, SIZE, resize)
    assert found.canvases.dtype == np.uint8
    expected = canvases_of_predictor(run, range(5), resize == "stretch")
    np.testing.assert_array_equal(found.canvases, expected)


def test_images_are_spread_over_the_list(run, capsys):
    found = read_calibration_set(find_run_images(run), 2, SIZE)
    np.testing.assert_array_equal(found.canvases, canvases_of_predictor(run, (0, 2), False))
    assert capsys.readouterr().err == ""


def test_digest_is_that_of_the_images(run):
    images = find_run_images(run)
    digests = [
        read_calibration_set(images, count, SIZE).calibration.digest for count in (5, 5, 4, 6)
    ]
    assert digests[0] == digests[1] == digests[3] != digests[2]


def test_fewer_images_than_wanted(run, capsys):
    found = read_calibration_set(find_run_images(run), 200, SIZE)
    assert found.calibration.count == 5
    assert "calibrating on all 5 training images, fewer than 200" in capsys.readouterr().err


def test_missing_images_are_left_out(run, capsys):
    for number in (0, 3):
        (run.path.parent / f"data/VOC2007/JPEGImages/t{number}.png").unlink()
    found = read_calibration_set(find_run_images(run), 3, SIZE)
    np.testing.assert_array_equal(found.canvases, canvases_of_predictor(run, (1, 2, 4), False))
    err = capsys.readouterr().err
    assert "2 of the 5 training images" in err
    assert "VOC2007/t0, VOC2007/t3" in err


def test_data_that_has_moved(run, tmp_path):
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"no folder .*data: specify the VOCdevkit with --data"):
        find_run_images(run)
    images = find_run_images(run, tmp_path / "moved")
    assert read_calibration_set(images, 5, SIZE).calibration.count == 5
    (sample,) = validation_samples(images, run.classes)
    assert sample.image_id == "v"


def test_other_data(run, tmp_path):
    add_image(tmp_path / "other/VOC2007", "a", [("cat", (2, 3, 30, 40))])
    images = find_run_images(run, tmp_path / "other")
    with pytest.raises(UserError) as error:
        read_calibration_set(images, 5, SIZE)
    assert "none of the 5 training images" in str(error.value)
    assert f"is in {tmp_path / 'other'} (VOC2007/t0, VOC2007/t1," in str(error.value)
    assert "--data" in str(error.value)
    with pytest.raises(UserError, match=r"none of the 1 validation image of .*: specify .* --data"):
        validation_samples(images, run.classes)


def test_run_without_names_uses_its_sets(run, tmp_path, capsys):
    (run.path / "images.txt").unlink()
    config = dataclasses.replace(run.config, train_set="some", val_set="2012:all")
    add_list(tmp_path / "data/VOC2007", "some", ["t3", "t1"])
    images = find_run_images(dataclasses.replace(run, config=config))
    assert (ids(images.train), ids(images.val)) == (["t3", "t1"], ["v"])
    assert "has no images.txt" in capsys.readouterr().err


def test_imported_run_needs_data(run, tmp_path):
    (run.path / "images.txt").unlink()
    config = dataclasses.replace(run.config, data="", train_set=None, val_set=None)
    run = dataclasses.replace(run, config=config)
    with pytest.raises(UserError, match=r"imported: specify a VOCdevkit with --data"):
        find_run_images(run)
    images = find_run_images(run, tmp_path / "data")
    assert len(images.train) == 5
    assert len(images.val) == 1


def test_damaged_image(run, tmp_path):
    path = tmp_path / "data/VOC2007/JPEGImages/t2.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"cannot read image .*t2\.png"):
        read_calibration_set(find_run_images(run), 5, SIZE)


def test_too_little_memory(run, monkeypatch):
    images = find_run_images(run)
    # Each image takes 64 * 96 * 3 bytes.
    monkeypatch.setattr("utils.export.calibration.available_memory", lambda: 3 * 18432 + 5)
    assert read_calibration_set(images, 3, SIZE).calibration.count == 3
    with pytest.raises(UserError, match=r"use --calibrate 3 or less, or free some memory"):
        read_calibration_set(images, 5, SIZE)
