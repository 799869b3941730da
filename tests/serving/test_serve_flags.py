"""serve.py: flags, errors before the service starts, and the network that it serves."""

import socket
from pathlib import Path

import numpy as np
import pytest

import serve
from tests.exported import make_run
from tests.fake_runtime import install
from utils.inference.thresholds import DEFAULT_THRESHOLDS
from utils.serving.network import open_network
from utils.serving.settings import ServingSettings
from utils.serving.work import Picture


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Replaces the server; returns what it is started with."""
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run_server(network, settings, bound):
        calls.append((network, settings, bound.getsockname()))
        bound.close()

    monkeypatch.setattr("utils.serving.server.run_server", run_server)
    return calls


@pytest.fixture
def run(started, monkeypatch, tmp_path, run_script):
    """Runs serve.py with a fake model; returns exit code and standard error."""
    install(monkeypatch, tmp_path / "m.onnx")

    def call(*flags):
        code, out, err = run_script(serve, "--model", "m.onnx", "--port", 0, *flags)
        assert out == ""
        return code, err

    return call


def test_defaults(run, started):
    assert run() == (0, "note: model m.onnx on red finder, 2 threads, auto\n")
    ((network, settings, address),) = started
    assert settings == ServingSettings(local_host="127.0.0.1")
    assert address[0] == "127.0.0.1"
    assert network.max_batch == 1


def test_flags_reach_the_settings(run, started, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    flags = ["--max-batch", 4, "--max-wait-ms", 2.5, "--queue", 7, "--timeout", 90]
    flags += ["--max-megabytes", 0.5]
    code, _ = run(*flags, "--max-megapixels", 2, "--token-file", "token")
    assert code == 0
    network, settings, _ = started[0]
    assert settings == ServingSettings(
        4, 0.0025, 7, 90.0, 2**19, 2_000_000, "0123456789abcdef", hang_after=180.0
    )
    assert list(network.predictors) == [1, 2, 4]


def test_data_of_the_page(run, started, tmp_path):
    (tmp_path / "data" / "Annotations").mkdir(parents=True)
    assert run("--data", "data")[0] == 0
    assert started[0][1].data == Path("data")


def test_fixed_batch_of_a_file(run, started, monkeypatch, tmp_path):
    install(monkeypatch, tmp_path / "m.onnx", batch=2)
    code, err = run("--max-batch", 8)
    assert code == 0
    assert "note: m.onnx takes 2 images per call, which replaces --max-batch 8\n" in err
    assert list(started[0][0].predictors) == [2]


def test_warning_without_token_on_a_network(run, started):
    assert "add --token-file" in run("--host", "0.0.0.0")[1]
    assert started[0][1].local_host is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
        (["--host", "192.0.2.1"], "choose another --host"),
        (["--host", "127..0.1"], "cannot listen on 127..0.1"),
        (["--token-file", "missing"], "missing: no such file"),
        (["--token-file", "m.onnx"], "m.onnx has no token"),
        (["--max-wait-ms", "-1"], "--max-wait-ms"),
        (["--port", "65536"], "--port"),
        (["--data", "missing"], "no folder missing"),
        (["--queue", "0"], "--queue"),
        (["--max-megapixel", "3"], "did you mean --max-megapixels?"),
    ],
    ids=str,
)
def test_wrong_flags_are_one_line(run, started, flags, words):
    code, err = run(*flags)
    assert code == 2
    assert words in err and err.count("\n") == 1
    assert not started


def test_port_in_use(run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, err = run("--port", other.getsockname()[1])
    assert (code, err.count("\n")) == (2, 1)
    assert "address already in use" in err


def test_missing_package_is_one_line(run, monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "fastapi" else name)
    code, err = run()
    assert code == 2
    assert err == (
        "error: serve.py needs fastapi, which is not installed: "
        "pip install -r requirements-serve.txt\n"
    )


def test_network_of_a_run_computes_what_predict_does(tmp_path):
    run = make_run(tmp_path / "run", version="v4-tiny")
    image = np.random.default_rng(1).integers(0, 256, (100, 150, 3), np.uint8)
    expected = run.predictor(DEFAULT_THRESHOLDS)([image])[0]
    network = open_network(run, 1)
    (found,) = network.run([Picture("", network.prepare(image), DEFAULT_THRESHOLDS)])
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.01)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert network.metadata.classes == tuple(run.classes)
