"""Shared by all tests: TensorFlow without messages, no network, scripts, and real data."""

import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from utils import cli

# Must be set before any test module imports TensorFlow, Keras or matplotlib.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"  # for tests that import Keras before `nets`
sys.modules.setdefault("openvino_telemetry", None)  # `importorskip` would send usage events
os.environ["MPLBACKEND"] = "Agg"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # so that all machines use the CPU
# Otherwise training in one test would round the products of all later tests in the process.
os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] = "STRICT"

# No deadline, since tests must not fail on a busy machine. Every run has the same examples.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Makes connections fail immediately, as if offline, except those to this machine."""
    connect = socket.socket.connect

    def connect_locally(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests use no network, but this one connects to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture(autouse=True)
def float32(monkeypatch, tmp_path):
    """Trains in float32 on every processor, and restores the precision after each test."""
    monkeypatch.setattr("utils.precision.CPU_INFO", tmp_path / "unknown")
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def eagerly():
    """Runs functions eagerly, since tracing takes longer than the few steps of a test."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def run_script(capsys, monkeypatch):
    """Returns a function that runs a script; it returns exit code, standard output and error."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `cli.run` sets it

    def run(script, *flags):
        code = 0
        try:
            cli.run(script.main, script.build_parser(), [*map(str, flags)])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def shared_data():
    """The folder of real datasets next to the checkout; skips the test if it does not exist."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data in {SHARED_DATA}")
    return SHARED_DATA
