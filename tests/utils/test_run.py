import csv
import dataclasses
import json
import os

import h5py
import keras
import numpy as np
import pytest

from nets.conventions import DARKNET, KERAS
from nets.detector import Detector
from nets.versions import VERSIONS
from utils.errors import UserError
from utils.run import RunDirectory, build_detector, load_run, newest_run, read_convention

CLASSES = ["cat", "traffic light"]


@pytest.fixture
def directory(run_config, tmp_path):
    directory = RunDirectory(tmp_path / "logs" / "run")
    directory.describe(run_config, CLASSES)
    return directory


@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda version: version.name)
def test_a_description_is_read_as_it_was_written(run_config, directory, version):
    config = dataclasses.replace(run_config, yolo=version)
    directory.describe(config, CLASSES)
    assert directory.read_description() == (config, CLASSES)


def test_a_run_directory_has_the_documented_files(run_config, directory):
    directory.write_history([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "map": 0.75}])
    directory.write_result({"backbone": "ghostnet", "epochs": 2})
    files = {path.name for path in directory.path.iterdir()}
    assert files == {"config.json", "classes.txt", "anchors.txt", "history.csv", "result.json"}
    with (directory.path / "history.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["epoch", "loss", "map"],
            ["1", "0.5", ""],
            ["2", "0.25", "0.75"],
        ]
    result = json.loads((directory.path / "result.json").read_text())
    assert result == {"backbone": "ghostnet", "epochs": 2}
    assert (directory.path / "classes.txt").read_text() == "cat\ntraffic light\n"


def test_anchors_are_in_their_own_file_only(run_config, directory):
    """So config.json files of earlier versions, which also have no anchors, stay readable."""
    document = json.loads((directory.path / "config.json").read_text())
    assert "anchors" not in document["yolo"]
    anchors = "1,2 3,4 5,6 7,8 9,10 11,12 13,14 15,16 17,18"
    (directory.path / "anchors.txt").write_text(anchors)
    config, _ = directory.read_description()
    np.testing.assert_array_equal(config.yolo.anchor_array.ravel(), np.arange(1, 19))


@pytest.mark.parametrize("name", ["config.json", "classes.txt", "anchors.txt"])
def test_a_missing_file_is_an_error_that_names_it(directory, name):
    (directory.path / name).unlink()
    with pytest.raises(UserError, match=name):
        directory.read_description()


@pytest.mark.parametrize(
    "text", ['{"backbone": ', "[]", "7", '{"yolo": 3}', "[" * 100_000, '{"a":' * 100_000]
)
def test_a_damaged_config_is_an_error_that_names_it(directory, text):
    (directory.path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        directory.read_description()


def test_anchors_of_another_number_of_levels_are_an_error(directory):
    (directory.path / "anchors.txt").write_text("1,2 3,4 5,6 7,8 9,10 11,12")
    with pytest.raises(UserError, match="anchors for 2 levels; v4 has 3"):
        directory.read_description()


def test_a_path_that_is_no_directory_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no run directory"):
        RunDirectory(tmp_path / "none").read_description()


@pytest.fixture(scope="module")
def detector():
    """The smallest detector, whose weights are never changed."""
    keras.utils.set_random_seed(3)
    return Detector("mobilenetv1", len(CLASSES), "v3-tiny", (64, 64), 0.25, DARKNET)


@pytest.fixture
def config(run_config, detector):
    """The config that describes it."""
    return dataclasses.replace(
        run_config,
        backbone="mobilenetv1",
        width=0.25,
        convention=DARKNET,
        yolo=detector.version,
        input_size=(64, 64),
    )


def test_best_weights_are_loaded_into_the_described_detector(config, directory, detector):
    directory.describe(config, CLASSES)
    detector.optimizer = optimizer = keras.optimizers.SGD()
    optimizer.build(detector.trainable_variables)
    directory.save_best_weights(detector, CLASSES)
    assert detector.optimizer is optimizer
    with h5py.File(directory.best_weights) as file:
        assert "optimizer" not in file
    detector.optimizer = None

    run = load_run(directory.path)
    assert (run.path, run.config, run.classes) == (directory.path, config, CLASSES)
    for weight, expected in zip(run.detector.weights, detector.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)

    directory.best_weights.write_bytes(b"not a weights file")
    with pytest.raises(UserError, match=r"best\.weights\.h5 is damaged"):
        load_run(directory.path)
    directory.best_weights.unlink()
    with pytest.raises(UserError, match="train it further with --resume"):
        load_run(directory.path)


def test_weights_that_contradict_the_run_are_an_error(config, directory, detector):
    directory.save_best_weights(detector, CLASSES)
    directory.describe(dataclasses.replace(config, convention=KERAS), CLASSES)
    message = "best.weights.h5 contradicts .*: convention.padding is 'torch' in the weights"
    with pytest.raises(UserError, match=message):
        load_run(directory.path)


def test_weights_of_earlier_versions_are_loaded_and_checked(config, directory, detector):
    directory.describe(config, CLASSES)
    detector.save_weights(directory.best_weights)
    loaded = load_run(directory.path).detector
    np.testing.assert_array_equal(loaded.weights[0], detector.weights[0])
    with h5py.File(directory.best_weights, "r+") as file:
        file["layers/functional/layers/conv2d_1/vars/0"][0] = np.nan
    with pytest.raises(UserError, match=r"conv2d_1/vars/0 \(conv_pw_1\) holds NaN"):
        load_run(directory.path)


def test_a_detector_that_cannot_be_built_is_a_user_error(run_config):
    config = dataclasses.replace(run_config, backbone="resnet50")
    with pytest.raises(UserError, match="cannot build the detector: no backbone 'resnet50'"):
        build_detector(config, 2)


def test_the_newest_run_is_that_of_the_newest_weights(tmp_path):
    with pytest.raises(UserError, match="no run with weights"):
        newest_run(tmp_path)
    for age, name in enumerate(("new", "old"), start=1):
        directory = RunDirectory(tmp_path / name)
        directory.path.mkdir()
        directory.best_weights.write_bytes(b"")
        modified = 1_000_000_000 - age
        os.utime(directory.best_weights, (modified, modified))
    (tmp_path / "without weights").mkdir()
    assert newest_run(tmp_path) == tmp_path / "new"


def test_the_convention_of_a_folder_is_that_of_its_config(run_config, directory, tmp_path):
    assert read_convention(directory.path) == run_config.convention
    assert read_convention(tmp_path) is None
    (directory.path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        read_convention(directory.path)
