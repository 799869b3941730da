"""Models of OpenVINO compute what the detector computes."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from tests.exported import (
    CLASSES,
    assert_predictions_of_keras,
    exporter,
    keras_outputs,
    random_canvases,
    small_detector,
)
from utils.errors import UserError
from utils.export import openvino
from utils.inference.engines.openvino import import_openvino
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model
from utils.inference.thresholds import Thresholds

# Importing OpenVINO by pytest.importorskip would send its usage events.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)
THRESHOLDS = Thresholds(confidence=0.5, iou=0.3, max_boxes=200)
PIXELS = np.float32([96, 64, 96, 64])


@pytest.fixture(scope="module")
def detector():
    return small_detector("v4-tiny")


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return exporter(openvino.write, tmp_path_factory.mktemp("models"), thresholds=THRESHOLDS)


@pytest.fixture(scope="module")
def plain(export):
    return export("plain")


def open_model(path, batch_size=1):
    return load_model(path, RuntimeSettings(batch_size, precision="float32")).open()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_any_batch_gives_the_predictions_of_keras(detector, plain, batch_size):
    session = open_model(plain, batch_size)
    assert session.images.shape[0] == batch_size
    assert_predictions_of_keras(session, detector)


def test_float16_halves_the_file_and_hardly_changes_the_scores(detector, plain, export):
    half = export("half", precision="float16", batch=1)
    bytes_of = [(path / "detector.bin").stat().st_size for path in (half, plain)]
    assert bytes_of[0] < 0.52 * bytes_of[1]
    session = open_model(half)
    session.images[:] = random_canvases(detector, 1)
    expected = keras_outputs(detector, session.images)
    np.testing.assert_allclose(session.run()["scores"], expected["scores"], atol=0.01)


def test_suppression_is_that_of_the_detector(detector, export):
    session = open_model(export("nms", nms=True), batch_size=2)
    session.images[:] = random_canvases(detector, 2)
    found = session.run()
    expected = detector.detect(session.images, *vars(THRESHOLDS).values())
    assert found["counts"].min() > 0 and found["counts"].max() < 200
    for name in ("labels", "counts"):
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_allclose(found["boxes"] * PIXELS, expected["boxes"], atol=0.01)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)


def test_convolutions_have_the_names_of_the_layers(plain):
    model = import_openvino().Core().read_model(plain / "detector.xml")
    names = {node.get_friendly_name() for node in model.get_ops()}
    assert {"conv1", "conv_dw_13", "head_p4_centre", "head_p5_classes"} <= names


def test_metadata_is_in_the_xml(plain):
    for path in (plain, plain / "detector.xml"):
        assert load_model(path, RuntimeSettings()).metadata.classes == tuple(CLASSES)


def test_missing_package_is_one_line(export, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-export\.txt"):
        export("none")


def test_importing_openvino_opens_no_socket():
    """In a process of its own, since OpenVINO is imported only once."""
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('a socket was opened')\n"
        "socket.socket.__init__ = socket.getaddrinfo = refuse\n"
        "from utils.inference.engines.openvino import import_openvino\n"
        "import_openvino()\n"
        "import sys, threading\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
