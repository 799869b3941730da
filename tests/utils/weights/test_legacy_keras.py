"""Detectors of the predecessors, built of plain Keras layers, against their converted files."""

import json

import h5py
import keras
import numpy as np
import pytest

from nets.versions import VERSIONS
from tests import predecessor_networks as networks
from tests.predecessor_networks import CLASSES
from utils.errors import UserError
from utils.run import load_run
from utils.weights.convert import convert_detector
from utils.weights.loading import open_weights
from utils.weights_file import read_detector


@pytest.fixture
def classes_file(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(CLASSES) + "\n")
    return path


@pytest.mark.parametrize(
    ("origin", "backbone", "alpha"),
    [
        ("yolo3-efficientnet", "efficientnetb0", 1.0),
        ("yolo4-mobilenet", "mobilenetv1", 0.25),
        pytest.param("yolo4-mobilenet", "mobilenetv1", 1.0, marks=pytest.mark.slow),
        pytest.param("yolo4-mobilenet", "mobilenetv2", 1.0, marks=pytest.mark.slow),
        pytest.param("yolo4-mobilenet", "mobilenetv3_large", 1.0, marks=pytest.mark.slow),
        pytest.param("yolo4-mobilenet", "ghostnet", 1.0, marks=pytest.mark.slow),
        *[
            pytest.param("yolo3-efficientnet", f"efficientnetb{n}", 1.0, marks=pytest.mark.slow)
            for n in range(1, 8)
        ],
    ],
)
def test_converted_run_returns_the_outputs_of_the_predecessor(
    tmp_path, classes_file, origin, backbone, alpha
):
    theirs = networks.build(backbone, alpha)
    networks.randomize(theirs)
    names = {"rename": networks.mobilenetv3_name} if "v3" in backbone else {}
    networks.write_h5(tmp_path / "theirs.h5", theirs, **names)
    report = convert_detector(tmp_path / "theirs.h5", origin, classes_file, tmp_path / "run")
    assert backbone in report

    run = load_run(tmp_path / "run")
    assert (run.config.backbone, run.config.width, run.classes) == (backbone, alpha, CLASSES)
    assert (run.config.resize, run.config.yolo.scale_xy) == ("stretch", (1.0, 1.0, 1.0))
    version = VERSIONS["v3" if "yolo3" in origin else "v4"]
    np.testing.assert_array_equal(run.detector.anchors, version.anchor_array)
    pixels = (
        np.random.default_rng(1)
        .uniform(0, 255, (1, networks.SIZE, networks.SIZE, 3))
        .astype("float32")
    )
    rows = [np.reshape(output, (-1, 5 + len(CLASSES))) for output in theirs(pixels / 255)]
    expected = np.concatenate(rows[::-1])
    assert 0.03 < expected.std() < 30
    np.testing.assert_allclose(run.detector(pixels)[0], expected, atol=1e-3)
    keras.backend.clear_session(free_memory=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The smallest of their detectors, in a file that holds more than the weights."""
    model = networks.build("mobilenetv1", 0.25)
    path = tmp_path_factory.mktemp("theirs") / "small.h5"
    networks.write_h5(path, model, group="model_weights")
    return path


def layer_names(root):
    return [n.decode() if isinstance(n, bytes) else n for n in root.attrs["layer_names"]]


def write_changed(source, path, change):
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "a") as file:
        change(file["model_weights"])


def test_unsuitable_files_are_refused_and_nothing_is_written(small, tmp_path, classes_file):
    def assert_refused(change, match, origin="yolo4-mobilenet", classes=classes_file):
        write_changed(small, tmp_path / "bad.h5", change)
        with pytest.raises(UserError, match=match):
            convert_detector(tmp_path / "bad.h5", origin, classes, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def without(name):
        def change(root):
            root.attrs["layer_names"] = [n.encode() for n in layer_names(root) if n != name]

        return change

    def reshape(root):
        group = root["conv_pw_3"]
        del group["conv_pw_3/kernel:0"]
        group.create_dataset("conv_pw_3/kernel:0", data=np.zeros((1, 1, 3, 3)))

    def set_nan(root):
        root["conv1/conv1/kernel:0"][0, 0, 0, 0] = np.nan

    def add(root):
        group = root.create_group("extra")
        group.create_dataset("extra/kernel:0", data=np.zeros(3))
        group.attrs["weight_names"] = [b"extra/kernel:0"]
        root.attrs["layer_names"] = [n.encode() for n in (*layer_names(root), "extra")]

    assert_refused(reshape, r"conv_pw_3/kernel:0 is \(1, 1, 3, 3\) in the file")
    assert_refused(without("conv_dw_2"), "lacks .*conv_dw_2")
    assert_refused(without("conv2d_7"), r"layers called conv2d_N.*--from")
    assert_refused(set_nan, "conv1/kernel:0 holds NaN")
    assert_refused(add, "a tensor too many: extra/kernel:0")
    assert_refused(lambda root: None, "no EfficientNet", origin="yolo3-efficientnet")
    (tmp_path / "more.txt").write_text("a\nb\nc\n")
    assert_refused(
        lambda root: None, "bad.h5 has 2 classes and .*more.txt 3", classes=tmp_path / "more.txt"
    )


def test_detector_is_not_taken_for_a_backbone(small):
    with pytest.raises(UserError, match=r"scale pixels differently: convert it with convert_"):
        open_weights(str(small), "mobilenetv1")


def test_code_in_a_file_is_not_run(small, tmp_path, classes_file):
    path = tmp_path / "lambda.h5"
    path.write_bytes(small.read_bytes())
    with h5py.File(path, "a") as file:
        lambda_layer = {"class_name": "Lambda", "config": {"function": ["4wEAAAAA", None, None]}}
        file.attrs["model_config"] = json.dumps({"config": {"layers": [lambda_layer]}}).encode()
    with pytest.raises(UserError, match="contains code"):
        convert_detector(path, "yolo4-mobilenet", classes_file, tmp_path / "run")


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_truncated_file_is_refused(small, tmp_path, classes_file, size):
    path = tmp_path / "cut.h5"
    path.write_bytes(small.read_bytes()[:size])
    with pytest.raises(UserError, match="is damaged"):
        convert_detector(path, "yolo4-mobilenet", classes_file, tmp_path / "run")


def test_first_layer_may_have_no_number(small, tmp_path, classes_file):
    """Later versions of Keras count conv2d, conv2d_1, conv2d_2, ..."""

    def renumber(root):
        names = layer_names(root)
        names[names.index("conv2d_1")] = "conv2d"
        root.attrs["layer_names"] = [name.encode() for name in names]
        root.move("conv2d_1", "conv2d")

    write_changed(small, tmp_path / "small.h5", renumber)
    convert_detector(tmp_path / "small.h5", "yolo4-mobilenet", classes_file, tmp_path / "run")
    header, _ = read_detector(tmp_path / "run" / "best.weights.h5")
    assert header.classes == tuple(CLASSES)
    assert header.anchors_assumed  # so that anchors.txt may be corrected
