"""Files of Darknet."""

import functools

import numpy as np
import pytest
from hypothesis import strategies as st

from nets.versions import check_input_size
from tests.darknet_networks import Cfg, yolov3_tiny
from tests.fuzzing import changed_lines, damaged, judge
from utils.weights.darknet import reader
from utils.weights.darknet.cfg import read_cfg
from utils.weights.darknet.cfg_graph import graph_of_cfg
from utils.weights.darknet.weights_file import WeightsFile, shapes_of, write_weights

WORDS = [b"[yolo]\n", b"[route]\nlayers=-1\n", b"[maxpool]\n", b"[shortcut]\nfrom=-1\n", b"1e300"]
WORDS += [b"filters=", b"1" * 30, b"=", b"#", b";", b"[", b"]", b"\0", b"-", b"0", b",", b"nan"]


@pytest.fixture
def cfg():
    cfg = Cfg(64, 96, 2)
    yolov3_tiny(cfg)
    return cfg.text


@pytest.fixture
def cached_detector(monkeypatch):
    """Builds each network only once."""
    monkeypatch.setattr(reader, "Detector", functools.cache(reader.Detector))


def test_cfg_files(fuzz, cfg, cached_detector, tmp_path):
    path, weights = tmp_path / "a.cfg", tmp_path / "a.weights"
    write_weights(weights, [])  # no values: all valid files of a network fail only here
    shapes = []

    def check(data):
        path.write_bytes(data)
        judge(graph_and_settings, path)
        assert judge(reader.read_darknet, weights, path) is None

    def graph_and_settings(path):
        sections = read_cfg(path)
        convolutions, outputs = graph_of_cfg(sections)
        network = reader._network(convolutions, path)
        assert reader._classes_of(outputs) > 0
        size = reader._input_size(sections[0])
        version = reader._decoded_as(outputs, network[1])
        assert np.isfinite(version.anchor_array).all() and (version.anchor_array > 0).all()
        assert all(0 < each < 1e6 for each in version.scale_xy)
        check_input_size(size)
        shapes.append(size)

    fuzz(check, data=damaged([cfg.encode()], WORDS) | changed_lines(cfg.replace("=", "= ")))


LAYERS = [(4, 3, 3, True), (6, 4, 1, False)]


def test_weights_files(fuzz, tmp_path):
    path = tmp_path / "a.weights"
    random = np.random.default_rng(0)
    layers = [shapes_of(*layer) for layer in LAYERS]
    write_weights(
        path, [{name: random.normal(size=shape) for name, shape in each.items()} for each in layers]
    )
    good = path.read_bytes()

    def read():
        file = WeightsFile(path)
        tensors = [file.take(shapes, "a layer") for shapes in layers]
        file.finish()
        return tensors

    def check(data):
        path.write_bytes(data)
        tensors = judge(read)
        if tensors is not None:
            assert len(data) in (len(good), len(good) - 4)  # an early version counts in 4 bytes
            for found, shapes in zip(tensors, layers, strict=True):
                assert {name: values.shape for name, values in found.items()} == shapes

    fuzz(check, data=damaged([good]) | st.binary(max_size=40))
