"""The end of a service whose threads hang or die."""

import json
import threading
import time

from tests.served import PATIENCE, Latch, ask, connect, encoded, make_network, post, read_answer
from tests.served import running as run_service
from utils.serving.watchdog import Watchdog
from utils.serving.worker import Worker

SHORT = 0.3
PATHS = ("/healthz", "/v2/health/live", "/v2/health/ready", "/v2/models/detector/ready")


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def running(network, reasons):
    """A service that notes why it ends instead of ending the process."""
    failed = threading.Event()

    def end(reason):
        reasons.append(reason)
        failed.set()

    return run_service(network, end, hang_after=SHORT), failed


def test_engine_that_hangs():
    """All that wait are answered, and nothing says that the service is well."""
    latch, reasons = Latch(), []
    service, failed = running(make_network(latch).network, reasons)
    with service as served, connect(served.port) as first, connect(served.port) as second:
        for connection in (first, second):
            connection.sendall(post(encoded()))
        assert failed.wait(PATIENCE)
        for connection in (first, second):
            status, _, body = read_answer(connection)
            assert status == 503
            assert "inference thread hangs" in json.loads(body)["error"]
        for path in PATHS:
            assert ask(served.port, get(path))[0] == 503
        assert ask(served.port, post(encoded()))[0] == 503
        latch.open()
    assert reasons == ["the inference thread hangs since 0.3 s"]


def test_inference_thread_that_dies(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    made, reasons = make_network(), []
    service, failed = running(made.network, reasons)
    with service as served:

        def die(session):
            raise SystemExit

        made.sessions[1].hook = die
        assert ask(served.port, post(encoded()))[0] == 503
        assert failed.wait(PATIENCE)
        for path in PATHS:
            assert ask(served.port, get(path))[0] == 503
    assert reasons == ["the inference thread has died"]


def test_decoding_thread_that_hangs(monkeypatch):
    latch, reasons = Latch(), []
    monkeypatch.setattr("utils.serving.decoding.decode_image", lambda *_: latch(None))
    service, failed = running(make_network().network, reasons)
    with service as served:
        assert ask(served.port, post(encoded()))[0] == 503
        assert failed.wait(PATIENCE)
        latch.open()
    assert "decoding thread" in reasons[0]


def test_threads_that_wait_or_have_ended_are_well():
    ended, waiting = Worker("a", lambda worker: None), Worker("b", lambda worker: forever.wait())
    forever = threading.Event()
    for worker in (ended, waiting):
        worker.start()
    ended.join(PATIENCE)
    watchdog = Watchdog([ended, waiting], SHORT, lambda reason: None)
    assert watchdog.problem() is None
    waiting.busy_since = time.monotonic() - SHORT / 2
    assert watchdog.problem() is None
    waiting.busy_since = time.monotonic() - 2 * SHORT
    assert watchdog.problem() == "the b hangs since 0.3 s"
    forever.set()
