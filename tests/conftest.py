"""What all tests share: a quiet TensorFlow, no network, and the real data where it is there."""

import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Before any test module imports TensorFlow, Keras or matplotlib.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["MPLBACKEND"] = "Agg"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the same on every machine
# Training in a test would else round the products of all tests after it in the same process.
os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] = "STRICT"

# No deadline: a loaded machine is no failure. The same examples in every run.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Makes every connection but those to this machine fail at once, as though offline."""
    connect = socket.socket.connect

    def connect_locally(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests use no network, and one wanted {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture(autouse=True)
def float32(monkeypatch, tmp_path):
    """Lets tests train alike on every processor, and leaves the next test as it was."""
    monkeypatch.setattr("utils.precision.PROCESSOR", tmp_path / "unknown")
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def eagerly():
    """Runs functions as they stand: tracing one takes longer than the few steps of a test."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def shared_data():
    """The folder of real VOC sets beside the checkout; tests that need it skip without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA
