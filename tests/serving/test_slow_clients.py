"""Clients that are slow, many, or vanish."""

import contextlib
import json
import socket

import numpy as np
import pytest

from tests.served import (
    AMPLE,
    PATIENCE,
    Latch,
    ask,
    connect,
    encoded,
    labels_of,
    make_network,
    post,
    read_answer,
    running,
    until,
)

SHORT = 0.3  # seconds of a timeout that a test waits for
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"


def is_closed(connection):
    """Whether the service closes a connection before the test gives up."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def assert_serves(served):
    status, _, body = ask(served.port, post(encoded()))
    assert (status, labels_of(body)) == (200, [["红/red"]])


def test_chunked_body_without_end():
    """It is refused at the limit of bytes, and the rest is not read for long."""
    with running(max_bytes=1000, timeout=AMPLE) as served, connect(served.port) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"200\r\n" + bytes(512) + b"\r\n"
        connection.sendall(3 * chunk)
        assert read_answer(connection)[0] == 413
        with pytest.raises(ConnectionError):
            until(lambda: connection.sendall(100 * chunk))


def test_slow_body():
    with running(timeout=SHORT) as served, connect(served.port) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\nabc")
        assert read_answer(connection)[0] == 504
        assert is_closed(connection)


@pytest.mark.parametrize("start", [b"", HEAD], ids=["nothing", "half of a head"])
def test_slow_head(start):
    with running(timeout=SHORT) as served, connect(served.port) as connection:
        connection.sendall(start)
        assert is_closed(connection)


def test_head_without_end():
    with running() as served, connect(served.port) as connection:
        with contextlib.suppress(OSError):  # the service stops to read
            connection.sendall(HEAD + b"X: " + b"x" * 1_000_000)
        with contextlib.suppress(ConnectionResetError):
            assert read_answer(connection)[0] == 400


def test_client_that_does_not_read():
    """Its connection is closed, so that answers do not pile up."""
    made = make_network(input_size=(320, 320))
    canvas = np.zeros((1, 320, 320, 3), np.float32)
    head = (
        b'{"inputs": [{"name": "images", "shape": [8, 320, 320, 3], "datatype": "FP32", '
        b'"parameters": {"binary_data_size": %d}}]}' % (8 * canvas.nbytes)
    )
    length = [f"Inference-Header-Content-Length: {len(head)}"]
    request = post(head + 8 * canvas.tobytes(), "/v2/models/detector/infer", length)
    with (
        running(made.network, timeout=AMPLE, send_buffer=4096) as served,
        connect(served.port) as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request)
        until(lambda: served.server.server_state.connections)
        until(lambda: not served.server.server_state.connections)
    assert made.sessions[1].runs == 8  # what nobody reads is the answer, not an error


def test_clients_that_vanish_in_mid_request():
    with running() as served:
        for data in (b"", HEAD, HEAD + b"Content-Length: 100\r\n\r\nabc", post(encoded())[:-1]):
            with connect(served.port) as connection:
                connection.sendall(data)
        until(lambda: not served.server.server_state.connections)
        assert_serves(served)


def test_work_of_vanished_clients_is_dropped_before_inference():
    latch = Latch()
    made = make_network(latch)
    with running(made.network) as served:
        with connect(served.port) as first:
            first.sendall(post(encoded()))
            assert latch.entered.wait(PATIENCE)
            for _ in range(5):
                with connect(served.port) as other:
                    other.sendall(post(encoded()))
                    until(lambda: served.service._seats == 2)
                until(lambda: served.service._seats == 1)
            latch.open()
            assert read_answer(first)[0] == 200
        assert_serves(served)
        assert made.sessions[1].runs == 2


def test_500_connections_at_once():
    """All are accepted, those that say nothing do not disturb, and 100 at once are answered."""
    with running(queue=100) as served, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect(served.port)) for _ in range(400)]
        speaking = [stack.enter_context(connect(served.port)) for _ in range(100)]
        boxes = [[0, 0, 2 * (1 + number % 90), 8 * (1 + number // 90)] for number in range(100)]
        for box, connection in zip(boxes, speaking, strict=True):
            connection.sendall(post(encoded(box=box)))
        for box, connection in zip(boxes, speaking, strict=True):
            status, _, body = read_answer(connection)
            assert status == 200
            assert json.loads(body)[0]["detections"][0]["box"] == box
        assert len(silent) == 400


def test_answers_are_sent_without_delay():
    """Nagle's algorithm would hold back the body of each answer for 40 ms."""
    with running() as served, connect(served.port):
        until(lambda: served.server.server_state.connections)
        (connection,) = served.server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_requests_in_a_row_on_one_connection():
    with running() as served, connect(served.port) as connection:
        connection.sendall(3 * post(encoded()))  # pipelined
        for _ in range(3):
            assert read_answer(connection)[0] == 200
