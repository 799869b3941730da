"""Processes of a service: signals, full disks, used-up descriptors, and threads that hang."""

import contextlib
import re
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.served import (
    PATIENCE,
    ask,
    connect,
    encoded,
    labels_of,
    post,
    read_answer,
    until,
)

ROOT = Path(__file__).parents[2]
METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.contextmanager
def process(*flags, stderr=subprocess.DEVNULL, files=None):
    """Starts a service; yields the process and its port."""

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    command = [sys.executable, "-m", "tests.served_process", *map(str, flags)]
    made = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        preexec_fn=limit if files else None,
    )
    try:
        assert select.select([made.stdout], [], [], 3 * PATIENCE)[0]
        yield made, int(made.stdout.readline().rpartition(":")[2])
    finally:
        made.kill()
        made.wait(PATIENCE)
        made.stdout.close()


def assert_serves(port):
    status, _, body = ask(port, post(encoded()))
    assert (status, labels_of(body)) == (200, [["红/red"]])


def assert_ends(made):
    """A service ends on SIGTERM without an error, and without having imported TensorFlow."""
    made.send_signal(signal.SIGTERM)
    assert made.wait(PATIENCE) == 0
    assert made.stdout.read() == "False\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals_under_load(tmp_path, name):
    """What was accepted is answered; new connections and requests are not."""
    opener = tmp_path / "open"
    with process("--wait-for", opener) as (made, port), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in range(6)]
        idle = stack.enter_context(connect(port))
        for client in clients:
            client.sendall(post(encoded()))
        until(lambda: b"swapyolo_requests_open 6.0" in ask(port, METRICS)[2])
        made.send_signal(signal.Signals[name])
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(port)
        opener.touch()
        answers = [read_answer(client) for client in clients]
        assert [status for status, _, _ in answers] == [200] * 6
        assert [labels_of(body) for _, _, body in answers] == [[["红/red"]]] * 6
        assert made.wait(PATIENCE) == 0


def test_sigkill_and_start_again(tmp_path):
    """The port is free at once, also with connections that were open."""
    with process("--wait-for", tmp_path / "never") as (made, port), connect(port) as client:
        client.sendall(post(encoded()))
        until(lambda: b"swapyolo_requests_open 1.0" in ask(port, METRICS)[2])
        made.kill()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
        assert made.wait(PATIENCE) == -signal.SIGKILL
        with process("--port", port) as (again, same):
            assert same == port
            assert_serves(port)
            assert_ends(again)


def test_engine_that_hangs_ends_the_process():
    with process("--hang", stderr=subprocess.PIPE) as (made, port):
        assert ask(port, post(encoded()))[0] == 503
        assert made.wait(PATIENCE) == 1
        log = made.stderr.read()
        made.stderr.close()
    assert "error: the inference thread hangs" in log
    assert "Traceback" not in log


def test_disk_full_for_logs():
    with Path("/dev/full").open("w") as full, process(stderr=full) as (made, port):
        for _ in range(3):
            assert_serves(port)
        text = ask(port, METRICS)[2].decode()
        lost = re.search(r"^swapyolo_lost_log_lines_total (.+)", text, re.MULTILINE)[1]
        assert float(lost) >= 3
        assert_ends(made)


def test_file_descriptors_used_up():
    """Connections wait for those that say nothing to be closed, and are then served."""
    with process("--timeout", 1.5, files=40) as (made, port):
        with contextlib.ExitStack() as stack:
            for _ in range(45):
                stack.enter_context(connect(port))
            assert_serves(port)
        assert_ends(made)
