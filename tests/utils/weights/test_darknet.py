"""Darknet's files against OpenCV 4, which reads them with code of its own."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from nets.detector import Detector
from nets.versions import VERSIONS, with_conv, with_neighbours
from tests import darknet_networks as networks
from utils.errors import UserError
from utils.run import load_run
from utils.weights.convert import convert_detector
from utils.weights.darknet import writer
from utils.weights.darknet.detector_graph import graph_of_detector
from utils.weights.darknet.graph import Node

SIZE = (96, 160)
CLASSES = ["cat", "dog", "owl"]
LOGIT_TOLERANCE, BOX_TOLERANCE = 1e-3, 0.5  # pixels

needs_opencv4 = pytest.mark.skipif(
    not networks.OPENCV4.is_dir(), reason=f"no OpenCV 4 in {networks.OPENCV4}, see `make venv`"
)


@pytest.fixture(autouse=True)
def clear_session():
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
    one_anchor = logits[:60:3]  # of neighbouring cells, which see different parts of the image
    assert one_anchor.std(axis=0).mean() > 10 * LOGIT_TOLERANCE, "logits hardly depend on the image"
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
def test_converted_run_returns_the_outputs_of_opencv(
    tmp_path, classes_file, network, backbone, version, resize
):
    cfg, weights = networks.write(tmp_path, network, SIZE, len(CLASSES))
    convert_detector(weights, "darknet", classes_file, tmp_path / "run", cfg)
    run = load_run(tmp_path / "run")
    assert (run.config.backbone, run.config.yolo.name) == (backbone, version)
    assert (run.config.input_size, run.config.resize, run.classes) == (SIZE, resize, CLASSES)
    compare_with_opencv(run.detector, cfg, weights, tmp_path)


# The lateral 1x1 convolutions of this neck quadruple the channels: their normalizations have two
# inputs.
WIDENING = replace(VERSIONS["v3"], neck_channels=(128, 32, 8))


def trained(backbone, version):
    """A detector with the centres, weights and statistics that training might produce."""
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
        ("darknet_tiny", WIDENING),
    ],
)
def test_opencv_returns_the_outputs_of_written_detectors(tmp_path, backbone, version):
    detector = trained(backbone, version)
    cfg, _ = writer.write_detector(detector, "letterbox", CLASSES, tmp_path / "ours.weights")
    compare_with_opencv(detector, cfg, tmp_path / "ours.weights", tmp_path)


def test_graph_takes_the_widened_features_of_a_normalization_with_two_inputs():
    with keras.StatelessScope(initialize_variables=False):
        detector = Detector("darknet_tiny", 3, WIDENING, SIZE)
    lateral = detector.get_layer("neck_p4_lateral_bn")
    assert [tensor.shape[-1] for tensor in lateral.input] == [128, 32]
    pending = [output.node for output in graph_of_detector(detector)]
    found = {}
    while pending:
        node = pending.pop()
        found[node.layers] = node
        pending += node.inputs
    node = found["neck_p4_lateral_conv", "neck_p4_lateral_bn"]
    assert [source.channels for source in node.inputs] == [32]
    assert (node.channels, node.settings["size"], node.settings["batch_normalize"]) == (128, 1, 1)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_written_files_are_read_back(tmp_path, classes_file, resize):
    detector = trained("darknet_tiny", VERSIONS["v3-tiny"])
    cfg, names = writer.write_detector(detector, resize, CLASSES, tmp_path / "ours.weights")
    assert names.read_text() == classes_file.read_text()
    with pytest.raises(UserError, match=r"ours\.weights already exists"):
        writer.write_detector(detector, resize, CLASSES, tmp_path / "ours.weights")
    (tmp_path / "ours.weights").unlink()
    with pytest.raises(UserError, match=r"ours\.names already exists"):
        writer.write_detector(detector, resize, CLASSES[::-1], tmp_path / "ours.weights")
    # As after a kill before the weights, which come last.
    writer.write_detector(detector, resize, CLASSES, tmp_path / "ours.weights")
    convert_detector(tmp_path / "ours.weights", "darknet", classes_file, tmp_path / "run", cfg)
    run = load_run(tmp_path / "run")
    assert run.config.resize == resize
    assert run.config.yolo.scale_xy == (2.0, 2.0)
    np.testing.assert_array_equal(run.detector.anchors, detector.anchors)
    for again, weight in zip(run.detector.weights, detector.weights, strict=True):
        np.testing.assert_array_equal(again, weight)


def test_difference_of_epsilons_is_added_to_the_variances():
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
    ("backbone", "version", "message"),
    [
        ("darknet_tiny", "v4", "train with --conv plain"),
        ("cspdarknet_tiny", with_conv(VERSIONS["v3"], "separable"), "train with --conv plain"),
        ("mobilenetv1", "v3", "scales pixels differently"),
    ],
)
def test_detectors_that_darknet_cannot_compute_are_not_written(
    tmp_path, backbone, version, message
):
    detector = Detector(backbone, 2, version, (64, 64))
    with pytest.raises(UserError, match=message):
        writer.write_detector(detector, "letterbox", CLASSES, tmp_path / "ours.weights")
    assert not list(tmp_path.iterdir())
