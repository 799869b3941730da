"""The queue: limits, deadlines, batches, and the works that it drops."""

import contextlib
import time

import numpy as np
import pytest

from tests.served import (
    AMPLE,
    BOX,
    PATIENCE,
    Latch,
    ask,
    connect,
    encoded,
    make_network,
    post,
    read_answer,
    running,
    until,
)
from utils.errors import UserError
from utils.serving.body import Memory
from utils.serving.network import batch_sizes
from utils.serving.queue import Entry, WorkQueue
from utils.serving.refusals import Refusal
from utils.serving.tokens import is_authorized, read_token
from utils.serving.work import Picture, Work

READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def work(seconds=PATIENCE):
    return Work(lambda: iter(()), time.monotonic() + seconds)


def picture(name="a"):
    return Picture(name, np.zeros((64, 96, 3), np.float32), None)


def test_queue_full():
    """It refuses at once, without reading the body, and serves on when there is room."""
    latch = Latch()
    with running(make_network(latch).network, queue=3) as served, contextlib.ExitStack() as stack:
        accepted = [stack.enter_context(connect(served.port)) for _ in range(3)]
        accepted[0].sendall(post(encoded()))
        assert latch.entered.wait(PATIENCE)
        for connection in accepted[1:]:
            connection.sendall(post(encoded()))
        until(lambda: served.service._seats == 3)
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        status, headers, body = ask(served.port, head)
        assert (status, body) == (503, b'{"error":"the queue is full, try again later"}')
        assert int(headers["retry-after"]) >= 1
        latch.open()
        assert [read_answer(connection)[0] for connection in accepted] == [200] * 3
        assert ask(served.port, post(encoded()))[0] == 200
        metrics = ask(served.port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")[2].decode()
    assert 'swapyolo_rejections_total{cause="queue_full"} 1.0' in metrics


def test_deadline():
    """A late request is answered with 504, and dropped before inference."""
    latch = Latch()
    made = make_network(latch)
    with running(made.network, timeout=AMPLE) as served:
        with connect(served.port) as first, connect(served.port) as second:
            first.sendall(post(encoded()))
            assert latch.entered.wait(PATIENCE)
            second.sendall(post(encoded()))
            assert [read_answer(each)[0] for each in (first, second)] == [504, 504]
        latch.open()
        assert ask(served.port, post(encoded()))[0] == 200
    assert made.sessions[1].runs == 2  # not that of the second request


def test_a_network_that_does_not_answer_is_not_ready_but_live():
    latch = Latch()
    with running(make_network(latch).network, timeout=0.3) as served:
        assert ask(served.port, READY)[0] == 504
        assert ask(served.port, LIVE)[0] == 200
        latch.open()


def test_batches_take_what_waits():
    latch = Latch()
    made = make_network(latch, sizes=(1, 2, 4))
    with running(made.network, max_batch=4) as served, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(served.port)) for _ in range(5)]
        connections[0].sendall(post(encoded()))
        assert latch.entered.wait(PATIENCE)
        for number, connection in enumerate(connections[1:]):
            connection.sendall(post(encoded(box=(0, 0, 10 + 10 * number, 8))))
        until(lambda: len(served.service._queue._ready) == 4)
        latch.open()
        bodies = [read_answer(connection)[2].decode() for connection in connections]
    assert str([float(side) for side in BOX]) in bodies[0]
    for number, body in enumerate(bodies[1:]):
        assert f'"box": [0.0, 0.0, {10.0 + 10 * number}' in body
    assert {size: session.runs for size, session in made.sessions.items()} == {1: 1, 2: 0, 4: 1}


def test_a_delay_fills_batches():
    made = make_network(sizes=(1, 2))
    with (
        running(made.network, max_batch=2, max_wait=PATIENCE) as served,
        connect(served.port) as first,
        connect(served.port) as second,
    ):
        first.sendall(post(encoded()))
        second.sendall(post(encoded()))
        assert [read_answer(each)[0] for each in (first, second)] == [200, 200]
    assert {size: session.runs for size, session in made.sessions.items()} == {1: 0, 2: 1}


def test_images_of_one_request_share_batches(serve):
    made = make_network(sizes=(1, 2, 4))
    client = serve(made.network, max_batch=4, max_wait=PATIENCE)
    files = [("images", ("a.png", encoded()))] * 4
    assert len(client.post("/predict", files=files).json()) == 4
    assert made.sessions[4].runs == 1


def test_batch_sizes():
    assert [batch_sizes(most) for most in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_no_new_requests_when_the_service_stops(serve):
    client = serve()
    client.service.stopping = True
    answer = client.post("/predict", content=encoded())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.get("/healthz").status_code == 503
    assert client.get("/v2/health/live").status_code == 200


def test_queue_drops_what_has_ended():
    queue = WorkQueue(ahead=2)
    cancelled, late, wanted = work(), work(-1), work()
    cancelled.future.cancel()
    for each in (cancelled, late, wanted):
        queue.put(each)
    assert queue.next_work() is wanted
    with pytest.raises(Refusal) as caught:
        late.future.result()
    assert caught.value.status == 504


def test_queue_is_emptied_before_it_ends():
    queue = WorkQueue(ahead=2)
    first, probe = work(), work()
    queue.put(first)
    queue.put(probe, first=True)
    queue.close()
    assert [queue.next_work(), queue.next_work()] == [probe, first]
    queue.offer(Entry(first, 0, picture()))
    queue.decoded()
    queue.decoded()
    assert queue.next_work() is None
    assert [entry.work for entry in queue.take(4, 0)] == [first]
    assert queue.take(4, 0) is None


def test_work_with_several_images_ends_with_the_last():
    made, (a, b) = work(), (picture("a"), picture("b"))
    made.set_result(1, b, "second")
    made.set_count(2)
    assert not made.future.done()
    made.set_result(0, a, "first")
    assert made.future.result() == [(a, "first"), (b, "second")]
    made.fail(Refusal(500, "failed", "too late to matter"))
    assert made.future.exception() is None


def test_memory_of_bodies_is_limited_and_given_back():
    memory = Memory(100)
    with memory.share() as first:
        first.hold(60)
        with memory.share() as second, pytest.raises(Refusal) as caught:
            second.hold(41)
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
    with memory.share() as third:
        third.hold(100)


TOKEN = "0123456789abcdef"


def test_token(serve):
    client = serve(token=TOKEN)
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}0"}, {"Authorization": TOKEN}):
        answer = client.post("/predict", content=encoded(), headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "error" in answer.json()
    for path in ("/model", "/metrics", "/v2", "/v2/models/detector", "/nothing"):
        assert client.get(path).status_code == 401
        right = client.get(path, headers={"Authorization": f"bearer {TOKEN}"})
        assert right.status_code == (404 if path == "/nothing" else 200)
    for path in ("/", "/docs", "/healthz", "/v2/health/live", "/v2/health/ready"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic x", "Bearer é", "é"])
def test_other_authorizations(header):
    assert not is_authorized(header, TOKEN)


@pytest.mark.parametrize("text", ["", "\n", "short", "two words of sixteen", "ü" * 20])
def test_files_without_a_token(tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="has no token"):
        read_token(path)
    path.write_text(f"{TOKEN}\n")
    assert read_token(path) == TOKEN
