"""Darknet's files against OpenCV 4, which reads them by code of its own."""

import keras
import numpy as np
import pytest

from nets.detector import Detector
from nets.versions import VERSIONS, with_conv, with_neighbours
from tests import darknet_networks as networks
from utils.errors import UserError
from utils.run import load_run
from utils.weights.convert import convert_detector
from utils.weights.darknet import reader, writer
from utils.weights.darknet.cfg import read_cfg
from utils.weights.darknet.graph import Node, graph_of_cfg

SIZE = (96, 160)
CLASSES = ["cat", "dog", "owl"]
LOGIT_TOLERANCE, BOX_TOLERANCE = 1e-3, 0.5  # pixels

needs_opencv4 = pytest.mark.skipif(
    not networks.OPENCV4.is_dir(), reason=f"no OpenCV 4 in {networks.OPENCV4}, see `make venv`"
)


@pytest.fixture(autouse=True)
def forget_networks():
    yield
    keras.backend.clear_session(free_memory=True)


@pytest.fixture
def classes_file(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(CLASSES) + "\n")
    return path


def compare_with_opencv(detector, cfg, weights, folder):
    pixels = np.random.default_rng(1).uniform(0, 255, (1, *SIZE, 3)).astype("float32")
    logits, boxes = networks.run_in_opencv(cfg, weights, pixels, folder)
    ours = detector(pixels)
    one_anchor = logits[:60:3]  # of cells beside each other, which see another part of the image
    assert one_anchor.std(axis=0).mean() > 10 * LOGIT_TOLERANCE, "hardly looks at the image"
    assert boxes.max() < 1e4
    np.testing.assert_allclose(ours[0], logits, atol=LOGIT_TOLERANCE, rtol=0)
    np.testing.assert_allclose(detector.decode(ours)[0][0], boxes, atol=BOX_TOLERANCE, rtol=0)


@needs_opencv4
@pytest.mark.parametrize(
    ("network", "backbone", "version", "resize"),
    [
        (networks.yolov3_tiny, "darknet_tiny", "v3-tiny", "letterbox"),
        (networks.yolov4_tiny, "cspdarknet_tiny", "v4-tiny", "stretch"),
        (networks.yolov4, "cspdarknet53", "v4", "stretch"),
        pytest.param(networks.yolov3, "darknet53", "v3", "letterbox", marks=pytest.mark.slow),
        pytest.param(
            networks.yolov3_spp, "darknet53", "v3-spp", "letterbox", marks=pytest.mark.slow
        ),
    ],
)
def test_a_run_made_of_their_files_finds_what_opencv_finds(
    tmp_path, classes_file, network, backbone, version, resize
):
    cfg, weights = networks.write(tmp_path, network, SIZE, len(CLASSES))
    convert_detector(weights, "darknet", classes_file, tmp_path / "run", cfg)
    run = load_run(tmp_path / "run")
    assert (run.config.backbone, run.config.yolo.name) == (backbone, version)
    assert (run.config.input_size, run.config.resize, run.classes) == (SIZE, resize, CLASSES)
    compare_with_opencv(run.detector, cfg, weights, tmp_path)


def trained(backbone, version):
    """A detector as training leaves it: other centres, another epsilon, statistics of its own."""
    detector = Detector(backbone, len(CLASSES), version=with_neighbours(version), input_size=SIZE)
    rng = np.random.default_rng(0)
    for weight in detector.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.4, 1.2, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(rng.normal(0, 0.2, weight.shape))
        elif weight.name == "kernel":
            weight.assign(rng.normal(0, np.prod(weight.shape[:-1]) ** -0.5, weight.shape))
    return detector


@needs_opencv4
@pytest.mark.parametrize(
    ("backbone", "version"),
    [
        ("darknet_tiny", VERSIONS["v3-tiny"]),
        ("cspdarknet_tiny", VERSIONS["v4-tiny"]),
        ("cspdarknet_tiny", with_conv(VERSIONS["v4"], "plain")),
        pytest.param("darknet53", VERSIONS["v3"], marks=pytest.mark.slow),
        pytest.param("darknet53", VERSIONS["v3-spp"], marks=pytest.mark.slow),
        pytest.param("cspdarknet53", with_conv(VERSIONS["v4"], "plain"), marks=pytest.mark.slow),
    ],
)
def test_what_is_written_opencv_reads_to_the_same_result(tmp_path, backbone, version):
    detector = trained(backbone, version)
    cfg, _ = writer.write_detector(detector, "letterbox", CLASSES, tmp_path / "ours.weights")
    compare_with_opencv(detector, cfg, tmp_path / "ours.weights", tmp_path)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_what_is_written_is_read_back(tmp_path, classes_file, resize):
    detector = trained("darknet_tiny", VERSIONS["v3-tiny"])
    cfg, names = writer.write_detector(detector, resize, CLASSES, tmp_path / "ours.weights")
    assert names.read_text() == classes_file.read_text()
    with pytest.raises(UserError, match=r"ours\.weights is there already"):
        writer.write_detector(detector, resize, CLASSES, tmp_path / "ours.weights")
    convert_detector(tmp_path / "ours.weights", "darknet", classes_file, tmp_path / "run", cfg)
    run = load_run(tmp_path / "run")
    assert run.config.resize == resize
    assert run.config.yolo.scale_xy == (2.0, 2.0)
    np.testing.assert_array_equal(run.anchors, detector.anchors)
    for again, weight in zip(run.detector.weights, detector.weights, strict=True):
        np.testing.assert_array_equal(again, weight)


def test_an_epsilon_of_another_convention_goes_into_the_variances():
    values = {f"norm/{i}": np.ones(2, np.float32) for i in range(4)}
    values["conv/0"] = np.zeros((1, 1, 3, 2), np.float32)
    node = Node(
        "convolutional",
        "",
        (Node("image", "", (), 3, 1),),
        2,
        1,
        {"size": 1},
        ("conv", "norm"),
    )
    written = writer._tensors_of(node, values, more=1e-3 - 1e-6)
    assert list(written) == ["biases", "scales", "means", "variances", "weights"]
    np.testing.assert_allclose(written["variances"], 1.000999, rtol=1e-7)


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("darknet_tiny", {"version": "v4"}, "train with --conv plain"),
        ("cspdarknet_tiny", {"version": "v3", "conv": "separable"}, "train with --conv plain"),
        ("mobilenetv1", {"version": "v3"}, "scales pixels otherwise"),
    ],
)
def test_what_darknet_cannot_compute_is_not_written(tmp_path, backbone, options, message):
    detector = Detector(backbone, 2, input_size=(64, 64), **options)
    with pytest.raises(UserError, match=message):
        writer.write_detector(detector, "letterbox", CLASSES, tmp_path / "ours.weights")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Paths of yolov3-tiny's .cfg and .weights."""
    return networks.write(tmp_path_factory.mktemp("tiny"), networks.yolov3_tiny, SIZE, 3)


def test_the_beginning_of_a_file_is_enough_for_a_backbone(tiny, tmp_path):
    """As darknet53.conv.74 is of yolov3.weights."""
    cfg, weights = tiny
    whole = reader.read_detector(weights, cfg).tensors
    backbone_floats = 6_298_480  # 3x3 convolutions 3-16-32-64-128-256-512-1024 and 4 a channel
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
        ("[net]", "net", "'net' is no option=value"),
        ("[net]", "[maxpool]", r"does not begin with \[net\]"),
        ("[maxpool]", "[avgpool]", r"line \d+: layers \[avgpool\] are not known"),
        ("stride=1", "strides=1", r"unknown option 'strides' of \[convolutional\], did you mean s"),
        ("filters=16", "filters=many", "filters=many is no number"),
        ("filters=16", "filters=1.5", "filters=1.5 is no whole number"),
        ("filters=16", "filters=24", r"line 8: filters is 24, conv1 has 16"),
        ("activation=leaky", "activation=mish", "activation is mish, .* has leaky"),
        ("batch_normalize=1\nfilters=16", "filters=16", "batch_normalize is 0, conv1 has 1"),
        ("pad=1", "pad=0", "without pad=1"),
        ("layers=-1,8", "layers=-1,99", "no layer 99 before"),
        ("layers=-1,8", "layers=8,-1", r"\[\w+\] of \d stands where"),
        ("filters=24\n", "filters=30\n", "three anchors of 3 classes take 24"),
        ("mask=0,1,2", "mask=0,1", "2 anchors in mask"),
        ("mask=0,1,2", "mask=0,1,9", "mask and anchors do not fit"),
        ("mask=0,1,2", "mask=0,1,1.5", "mask=0,1,1.5 is no whole number"),
        ("mask=0,1,2", "scale_x_y=\nmask=0,1,2", "scale_x_y= is no number"),
        ("mask=0,1,2", "ignore_thresh=0.7,0.5\nmask=0,1,2", "is not one number"),
        ("10,14", "0,14", "anchors must be greater than 0"),
        ("layers=-1,8", "layers=", "layers= is no number"),
        ("[upsample]\nstride=2", "[upsample]\nstride=0", "stride=0 is less than 1"),
        ("filters=16", "filters=inf", "filters=inf is no number"),
        ("mask=0,1,2", "new_coords=1\nmask=0,1,2", "new_coords=1 are not known"),
        ("width=160", "width=100", "must be multiples of 32"),
        ("height=96", "", r"\[net\] lacks height"),
    ],
)
def test_a_cfg_that_is_not_understood_names_the_line(tiny, tmp_path, old, new, message):
    cfg, weights = tiny
    text = cfg.read_text()
    assert old in text
    (tmp_path / "bad.cfg").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        reader.read_detector(weights, tmp_path / "bad.cfg")
    assert "\n" not in str(caught.value)


def test_a_network_of_another_length_is_refused_with_those_that_are_known(tiny, tmp_path):
    cfg, weights = tiny
    text = cfg.read_text()
    (tmp_path / "bad.cfg").write_text(text[: text.index("[yolo]")])
    with pytest.raises(UserError, match=r"no \[yolo\] follows"):
        reader.read_detector(weights, tmp_path / "bad.cfg")
    (tmp_path / "bad.cfg").write_text(text[: text.index("[route]")])
    with pytest.raises(UserError, match=r"has 10 convolutions.* v3-tiny over darknet_tiny \(13\)"):
        reader.read_detector(weights, tmp_path / "bad.cfg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "does not begin as Darknet's"),
        (lambda data: b"PK\3\4" * 10, "does not begin as Darknet's"),
        (lambda data: data[:-4], r"ends within the weights of \[convolutional\] in .*line 1\d\d"),
        (lambda data: data[:1000], "ends within the weights"),
        (lambda data: data + bytes(8), "8 bytes too many"),
        (lambda data: data + bytes(2), "2 bytes too many"),
        (lambda data: data[:5], "does not begin as Darknet's"),
    ],
)
def test_weights_of_another_length_are_refused(tiny, tmp_path, change, message):
    cfg, weights = tiny
    (tmp_path / "bad.weights").write_bytes(change(weights.read_bytes()))
    with pytest.raises(UserError, match=message):
        reader.read_detector(tmp_path / "bad.weights", cfg)


def test_missing_files_and_nan_are_refused(tiny, tmp_path, classes_file):
    cfg, weights = tiny
    with pytest.raises(UserError, match=r"no file .*none\.cfg"):
        reader.read_detector(weights, tmp_path / "none.cfg")
    with pytest.raises(UserError, match="no weights file"):
        reader.read_detector(tmp_path / "none.weights", cfg)
    with pytest.raises(UserError, match="is no option=value"):
        reader.read_detector(weights, weights)
    data = bytearray(weights.read_bytes())
    data[20:24] = np.float32(np.nan).tobytes()
    (tmp_path / "bad.weights").write_bytes(data)
    with pytest.raises(UserError, match=r"biases of .*line 8 holds NaN"):
        convert_detector(tmp_path / "bad.weights", "darknet", classes_file, tmp_path / "run", cfg)
    assert not (tmp_path / "run").exists()


def test_comments_headings_and_options_of_training_are_understood(tiny, tmp_path):
    cfg, weights = tiny
    text = (
        cfg.read_text().replace("[net]", "[network]").replace("pad=1\n", "pad=1\nstopbackward=1\n")
    )
    bytes_of = ("; \u6ce8\n" + text).encode("gbk")
    (tmp_path / "other.cfg").write_bytes(bytes_of.replace(b"\n", b"\r\n"))
    assert reader.read_detector(weights, tmp_path / "other.cfg").backbone == "darknet_tiny"


def test_a_shortcut_of_several_layers_is_not_taken_for_one(tmp_path):
    cfg = networks.Cfg(*SIZE, 3)
    networks.yolov3(cfg)
    (tmp_path / "bad.cfg").write_text(cfg.text.replace("from=-3", "from=-3,-4"))
    with pytest.raises(UserError, match="from=-3,-4 is not one number"):
        graph_of_cfg(read_cfg(tmp_path / "bad.cfg"))
