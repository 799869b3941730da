"""A Ray job on a cluster that was started by hand. Takes a minute."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.brightness_model import record_of, write_grey_images, write_model
from tests.ray_driver import needs_ray, read_parts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs_ray,
    pytest.mark.skipif(sys.platform != "linux", reason="ends the processes of a session"),
]

COUNT = 100
PORT = 9379  # outside the range from which Ray gives ports to its workers


@pytest.fixture
def address(tmp_path, monkeypatch):
    """Starts a cluster; returns its address."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # the user may have a token
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block"]
    command += ["--num-cpus", "2", "--port", str(PORT), "--include-dashboard=false"]
    env = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    with (tmp_path / "ray.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), 1):
            break
        time.sleep(0.5)
    yield f"127.0.0.1:{PORT}"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_job_on_a_cluster_by_flag_and_by_variable(tmp_path, monkeypatch, address, start_job):
    write_model("m.onnx")
    write_grey_images(Path("pics"), COUNT)
    flags = ("pics", "--model", "m.onnx", "--workers", "ray", "--jsonl")
    first = start_job(*flags, "a", "--ray-address", address, cwd=tmp_path, folder="a").end()
    monkeypatch.setenv("RAY_ADDRESS", address)
    second = start_job(*flags, "b", cwd=tmp_path, folder="b").end()
    assert [first[:2], second[:2]] == [(0, f"{name}: {COUNT} sources\n") for name in "ab"]
    for name in "ab":
        assert read_parts(name) == [record_of(i) for i in range(COUNT)]
