import dataclasses
import hashlib
import json

import h5py
import keras
import numpy as np
import pytest

from nets.conventions import DARKNET
from nets.detector import Detector
from nets.versions import VERSIONS, with_anchors
from utils.errors import UserError
from utils.weights_file import (
    DetectorHeader,
    header_of,
    make_document,
    read_detector,
    read_document,
    require_same,
    save_detector,
)

CLASSES = ("cat", "traffic light", "dog")
TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7, np.int32)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A detector with an unusual convention, and the file of its weights."""
    keras.utils.set_random_seed(1)
    detector = Detector("mobilenetv1", 3, "v3-tiny", (32, 32), 0.25, DARKNET)
    path = tmp_path_factory.mktemp("saved") / "best.weights.h5"
    save_detector(path, detector, header_of(detector, CLASSES))
    return detector, path


@pytest.fixture
def header(run_config):
    return DetectorHeader(
        run_config.backbone,
        run_config.width,
        run_config.convention,
        run_config.yolo,
        run_config.input_size,
        num_classes=len(CLASSES),
        classes=CLASSES,
    )


def test_file_says_how_to_build_its_detector(saved):
    _, path = saved
    header, _ = read_detector(path)
    assert (header.backbone, header.width, header.convention) == ("mobilenetv1", 0.25, DARKNET)
    assert header.yolo == VERSIONS["v3-tiny"]
    assert (header.input_size, header.num_classes, header.classes) == ((32, 32), 3, CLASSES)
    with h5py.File(path) as file:
        document = json.loads(file.attrs["swapyolo"])
    assert document["format"] == 1
    assert document["header"]["convention"]["std"] == [255.0] * 3


def test_header_of_ten_thousand_classes_fits_into_the_file(saved, tmp_path):
    """HDF5 limits attributes to 64 KiB, unless they are strings of variable length."""
    detector, _ = saved
    header = header_of(detector, [f"a long name of a class {n}" for n in range(10_000)])
    save_detector(tmp_path / "a.weights.h5", detector, header)
    assert read_detector(tmp_path / "a.weights.h5")[0] == header


@pytest.mark.parametrize("name", ["conv_pw_1", "head_p5_logits"])
def test_flipped_bit_of_a_tensor_is_detected(saved, tmp_path, name):
    detector, path = saved
    layers = {layer.name: layer for layer in (*detector.layers, *detector.backbone.layers)}
    data = bytearray(path.read_bytes())
    position = data.index(layers[name].kernel.numpy().tobytes())
    data[position + 101] ^= 1  # the second lowest byte of a number, which stays finite
    (tmp_path / "a.weights.h5").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.weights\.h5 is damaged: .* another digest"):
        read_detector(tmp_path / "a.weights.h5")


def test_changed_header_is_detected(saved, tmp_path):
    data = saved[1].read_bytes()
    assert data.count(b'"std": [255.0, 255.0, 255.0]') == 1
    changed = data.replace(b'"std": [255.0, 255.0', b'"std": [255.0, 254.0')
    (tmp_path / "a.weights.h5").write_bytes(changed)
    with pytest.raises(UserError, match="another digest"):
        read_detector(tmp_path / "a.weights.h5")


def test_exchanged_layers_are_detected(saved, tmp_path):
    """Keras stores the name of a layer apart from its tensors."""
    path = tmp_path / "a.weights.h5"
    path.write_bytes(saved[1].read_bytes())
    with h5py.File(path, "r+") as file:
        file["layers/functional/layers/conv2d_1/vars"].attrs["name"] = "conv_pw_2"
    with pytest.raises(UserError, match="another digest"):
        read_detector(path)


@pytest.mark.parametrize("size", [0, 100, 100_000])
def test_cut_file_is_damaged(saved, tmp_path, size):
    (tmp_path / "a.weights.h5").write_bytes(saved[1].read_bytes()[:size])
    with pytest.raises(UserError, match=r"a\.weights\.h5 is damaged"):
        read_detector(tmp_path / "a.weights.h5")


def test_file_of_keras_has_no_header(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.full(3, np.nan)
    assert read_detector(tmp_path / "a.weights.h5")[0] is None


def test_digest_is_computed_as_documented(header):
    document = json.loads(make_document(header, TENSORS))
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(document["header"], sort_keys=True).encode())
    digest.update(b"\0a\0<i4\0()\0" + bytes([7, 0, 0, 0]))
    digest.update(b"\0b\0<f4\0(2, 3)\0" + np.arange(6, dtype="<f4").tobytes())
    assert document["digest"] == digest.hexdigest()


def test_document_is_read_as_it_was_written(header, tmp_path):
    text = make_document(header, TENSORS)
    assert read_document(DetectorHeader, text, TENSORS, tmp_path) == header


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=2), "has format 2, .* use the version that wrote the file"),
        (lambda d: d.pop("digest"), "another digest"),
        (lambda d: d.pop("header"), "another digest"),
        (lambda d: d["header"].update(width=float("nan")), "another digest"),
        (lambda d: d["header"].update(backbone="ghostnet2"), "another digest"),
    ],
)
def test_changed_document_is_an_error_that_names_the_file(header, tmp_path, change, message):
    document = json.loads(make_document(header, TENSORS))
    change(document)
    with pytest.raises(UserError, match=message) as caught:
        read_document(DetectorHeader, json.dumps(document), TENSORS, tmp_path / "a.weights.h5")
    assert "a.weights.h5" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", 7, None, "[" * 100_000, b"\xff"])
def test_unreadable_document_is_an_error(tmp_path, text):
    with pytest.raises(UserError, match=r"a\.weights\.h5: swapyolo is damaged"):
        read_document(DetectorHeader, text, TENSORS, tmp_path / "a.weights.h5")


def test_contradiction_is_an_error_that_names_the_value(header, tmp_path):
    def assert_contradicts(message, **changes):
        with pytest.raises(UserError, match=message):
            require_same(header, dataclasses.replace(header, **changes), tmp_path / "best")

    convention = dataclasses.replace(header.convention, std=(1.0, 127.5, 127.5))
    assert_contradicts(r"std\[0\] is 127.5 in the weights and 1.0 beside", convention=convention)
    assert_contradicts("backbone is 'ghostnet' in the weights and 'tiny'", backbone="tiny")
    assert_contradicts("width is 0.5 in the weights and 1.0", width=1.0)
    assert_contradicts("num_classes is 3 in the weights and 2", num_classes=2, classes=("a", "b"))
    swapped = ("traffic light", "cat", "dog")
    assert_contradicts(r"classes\[0\] is 'cat' in the weights and 'traffic", classes=swapped)
    neck = dataclasses.replace(header.yolo, neck_channels=(128, 256, 384))
    assert_contradicts(r"yolo.neck_channels\[2\] is 512 in the weights and 384", yolo=neck)
    neck = dataclasses.replace(header.yolo, neck_channels=None)
    assert_contradicts(r"yolo.neck_channels\[0\] is 128 in the weights and None", yolo=neck)
    anchors = with_anchors(header.yolo, 2 * header.yolo.anchor_array)
    assert_contradicts(r"yolo.anchors\[0\]\[0\]\[0\] is 4.0 in the weights and 8.0", yolo=anchors)


def test_what_the_weights_leave_open_is_no_contradiction(header, tmp_path):
    require_same(header, dataclasses.replace(header, input_size=(64, 64)), tmp_path)
    nameless = dataclasses.replace(header, classes=())
    require_same(nameless, header, tmp_path)
    anchors = with_anchors(header.yolo, 2 * header.yolo.anchor_array)
    changed = dataclasses.replace(header, yolo=anchors)
    require_same(dataclasses.replace(header, anchors_assumed=True), changed, tmp_path)
