"""Darknet's files that are incomplete, damaged or unusual."""

import keras
import numpy as np
import pytest

from tests import darknet_networks as networks
from utils.errors import UserError
from utils.weights.convert import convert_detector
from utils.weights.darknet import reader
from utils.weights.darknet.cfg import read_cfg
from utils.weights.darknet.cfg_graph import graph_of_cfg

SIZE = (96, 160)


@pytest.fixture(autouse=True)
def clear_session():
    yield
    keras.backend.clear_session(free_memory=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Paths of yolov3-tiny's .cfg and .weights."""
    return networks.write(tmp_path_factory.mktemp("tiny"), networks.yolov3_tiny, SIZE, 3)


def test_first_part_of_a_file_suffices_for_a_backbone(tiny, tmp_path):
    """For example darknet53.conv.74, the first part of yolov3.weights."""
    cfg, weights = tiny
    whole = reader.read_darknet(weights, cfg).tensors
    # 3x3 convolutions 3-16-32-64-128-256-512-1024, and 4 values per channel
    backbone_floats = 6_298_480
    (tmp_path / "tiny.conv").write_bytes(weights.read_bytes()[: 20 + 4 * (backbone_floats + 1000)])
    tensors = reader.read_backbone(tmp_path / "tiny.conv", cfg, "darknet_tiny")
    assert sum(values.size for _, values in tensors.values()) == backbone_floats
    for key, (_, values) in tensors.items():
        np.testing.assert_array_equal(values, whole[key][1])
    with pytest.raises(UserError, match="is darknet_tiny, use --backbone darknet_tiny"):
        reader.read_backbone(weights, cfg, "darknet53")
    (tmp_path / "tiny.conv").write_bytes(weights.read_bytes()[: 4 * backbone_floats])
    with pytest.raises(UserError, match="ends within the weights"):
        reader.read_backbone(tmp_path / "tiny.conv", cfg, "darknet_tiny")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[net]", "net", "'net' is not option=value"),
        ("[net]", "[maxpool]", r"does not begin with \[net\]"),
        ("[maxpool]", "[avgpool]", r"line \d+: layers \[avgpool\] are not supported"),
        ("stride=1", "strides=1", r"unknown option 'strides' of \[convolutional\], did you mean s"),
        ("filters=16", "filters=many", "filters=many is not a number"),
        ("filters=16", "filters=1.5", "filters=1.5 is not a whole number"),
        ("filters=16", "filters=24", r"line 8: filters is 24, conv1 has 16"),
        ("activation=leaky", "activation=mish", "activation is mish, .* has leaky"),
        ("batch_normalize=1\nfilters=16", "filters=16", "batch_normalize is 0, conv1 has 1"),
        ("pad=1", "pad=0", "without pad=1"),
        ("layers=-1,8", "layers=-1,99", "no layer 99 before"),
        ("layers=-1,8", "layers=8,-1", r"\[\w+\] with \d inputs, the known network has .* here"),
        ("filters=24\n", "filters=30\n", "3 anchors of 3 classes need 24"),
        ("mask=0,1,2", "mask=0,1", "2 anchors in mask, it must be 3"),
        ("mask=0,1,2", "mask=0,1,9", "mask and anchors do not fit"),
        ("mask=0,1,2", "mask=0,1,1.5", "mask=0,1,1.5 is not a whole number"),
        ("mask=0,1,2", "scale_x_y=\nmask=0,1,2", "scale_x_y= is not a number"),
        ("mask=0,1,2", "ignore_thresh=0.7,0.5\nmask=0,1,2", "is not one number"),
        ("10,14", "0,14", "anchors must be greater than 0"),
        ("layers=-1,8", "layers=", "layers= is not a number"),
        ("[upsample]\nstride=2", "[upsample]\nstride=0", "stride=0 is less than 1"),
        ("filters=16", "filters=inf", "filters=inf is not a number"),
        ("mask=0,1,2", "new_coords=1\nmask=0,1,2", "new_coords=1 is not supported"),
        ("width=160", "width=100", "must be multiples of 32"),
        ("height=96", "", r"\[net\] lacks height"),
    ],
)
def test_error_in_a_cfg_names_the_line(tiny, tmp_path, old, new, message):
    cfg, weights = tiny
    text = cfg.read_text()
    assert old in text
    (tmp_path / "bad.cfg").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        reader.read_darknet(weights, tmp_path / "bad.cfg")
    assert "\n" not in str(caught.value)


def test_error_for_an_unknown_network_lists_the_known_ones(tiny, tmp_path):
    cfg, weights = tiny
    text = cfg.read_text()
    (tmp_path / "bad.cfg").write_text(text[: text.index("[yolo]")])
    with pytest.raises(UserError, match=r"no \[yolo\] section follows"):
        reader.read_darknet(weights, tmp_path / "bad.cfg")
    (tmp_path / "bad.cfg").write_text(text[: text.index("[route]")])
    with pytest.raises(UserError, match=r"has 10 convolutions.* v3-tiny over darknet_tiny \(13\)"):
        reader.read_darknet(weights, tmp_path / "bad.cfg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "does not begin like Darknet's"),
        (lambda data: b"PK\3\4" * 10, "does not begin like Darknet's"),
        (lambda data: data[:-4], r"ends within the weights of \[convolutional\] in .*line 1\d\d"),
        (lambda data: data[:1000], "ends within the weights"),
        (lambda data: data + bytes(8), "8 bytes too many"),
        (lambda data: data + bytes(2), "2 bytes too many"),
        (lambda data: data[:5], "does not begin like Darknet's"),
    ],
)
def test_weights_of_the_wrong_length_are_refused(tiny, tmp_path, change, message):
    cfg, weights = tiny
    (tmp_path / "bad.weights").write_bytes(change(weights.read_bytes()))
    with pytest.raises(UserError, match=message):
        reader.read_darknet(tmp_path / "bad.weights", cfg)


def test_missing_files_and_nan_are_refused(tiny, tmp_path):
    cfg, weights = tiny
    classes_file = tmp_path / "classes.txt"
    classes_file.write_text("cat\ndog\nowl\n")
    with pytest.raises(UserError, match=r"no file .*none\.cfg"):
        reader.read_darknet(weights, tmp_path / "none.cfg")
    with pytest.raises(UserError, match="no weights file"):
        reader.read_darknet(tmp_path / "none.weights", cfg)
    with pytest.raises(UserError, match="is not option=value"):
        reader.read_darknet(weights, weights)
    data = bytearray(weights.read_bytes())
    data[20:24] = np.float32(np.nan).tobytes()
    (tmp_path / "bad.weights").write_bytes(data)
    with pytest.raises(UserError, match=r"biases of .*line 8 holds NaN"):
        convert_detector(tmp_path / "bad.weights", "darknet", classes_file, tmp_path / "run", cfg)
    assert not (tmp_path / "run").exists()


def test_comments_line_endings_and_training_options_are_ignored(tiny, tmp_path):
    cfg, weights = tiny
    text = (
        cfg.read_text().replace("[net]", "[network]").replace("pad=1\n", "pad=1\nstopbackward=1\n")
    )
    encoded = ("; \u6ce8\n" + text).encode("gbk")
    (tmp_path / "other.cfg").write_bytes(encoded.replace(b"\n", b"\r\n"))
    assert reader.read_darknet(weights, tmp_path / "other.cfg").backbone == "darknet_tiny"


def test_shortcut_of_several_layers_is_refused(tmp_path):
    cfg = networks.Cfg(*SIZE, 3)
    networks.yolov3(cfg)
    (tmp_path / "bad.cfg").write_text(cfg.text.replace("from=-3", "from=-3,-4"))
    with pytest.raises(UserError, match="from=-3,-4 is not one number"):
        graph_of_cfg(read_cfg(tmp_path / "bad.cfg"))
