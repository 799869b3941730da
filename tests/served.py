"""A service on a fake network, which finds red boxes, for tests of utils.serving."""

import contextlib
import json
import socket
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np

from tests.fake_runtime import RedSession, make_metadata
from utils.inference.engines.exported import ExportedEngine
from utils.inference.engines.session import RuntimeSettings
from utils.inference.predictor import Predictor
from utils.inference.thresholds import DEFAULT_THRESHOLDS
from utils.serving.network import Network
from utils.serving.server import bind, make_server
from utils.serving.service import Service
from utils.serving.settings import ServingSettings

PATIENCE = 20.0  # seconds after which a test fails instead of waiting further
AMPLE = 3.0  # seconds of a timeout that a test waits for, but before which something must work
BOX = (64, 32, 128, 96)


class HookedSession(RedSession):
    """A red finder that first calls `hook` with itself, if it is set."""

    hook = None

    def run(self):
        if self.hook:
            self.hook(self)
        return super().run()


class Latch:
    """A hook that lets the network wait until it is opened.

    Attributes:
        entered: Set when the network has been called.
    """

    def __init__(self):
        self.entered, self._opened = threading.Event(), threading.Event()

    def __call__(self, session):
        self.entered.set()
        assert self._opened.wait(PATIENCE)

    def open(self):
        self._opened.set()


def make_network(hook=None, sizes=(1,), **options):
    """Makes a network; `sessions` of the result are its runtimes, by batch size."""
    metadata = make_metadata(**options)
    sessions = {size: HookedSession(metadata, RuntimeSettings(size)) for size in sizes}
    for session in sessions.values():
        session.hook = hook
    predictors = {
        size: Predictor(ExportedEngine(session, metadata, DEFAULT_THRESHOLDS))
        for size, session in sessions.items()
    }
    network = Network(predictors, metadata, "red finder")
    return SimpleNamespace(network=network, sessions=sessions)


@contextlib.contextmanager
def running(network=None, on_failure=None, send_buffer=None, **settings):
    """Runs a service in this process, on a free port of this machine.

    Args:
        network: The network; None for a red finder.
        on_failure: Called when the service cannot compute any more.
        send_buffer: Bytes that the system buffers per connection.
        settings: Fields of `ServingSettings`.

    Yields:
        `port`, `service` and `server`.
    """
    network = network or make_network().network
    service = Service(
        network, ServingSettings(**{"timeout": PATIENCE, **settings}), on_failure or (lambda _: 0)
    )
    service.start()
    bound = bind("127.0.0.1", 0)
    if send_buffer:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    port = bound.getsockname()[1]
    server = make_server(service, bound)
    started = threading.Event()
    server.startup = _and_set(server.startup, started)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield SimpleNamespace(port=port, service=service, server=server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        service.stop()
        assert not thread.is_alive()


def _and_set(startup, started):
    async def wrapped(sockets):
        await startup(sockets)
        started.set()

    return wrapped


def encoded(suffix=".png", size=(128, 192), box=BOX):
    """An image file with a red box, or without one."""
    image = np.full((*size, 3), 255, np.uint8)  # tests.red_finder would import TensorFlow
    if box:
        xmin, ymin, xmax, ymax = box
        image[ymin:ymax, xmin:xmax] = (0, 0, 255)
    return cv2.imencode(suffix, image)[1].tobytes()


def post(body, path="/predict", headers=()):
    """The bytes of a request."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connect(port):
    """Opens a connection, whose waits end after `PATIENCE`."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def read_answer(connection):
    """Reads an answer; returns status, headers with lower-case names, and the body."""
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return status, headers, file.read(int(headers.get("content-length", 0)))


def ask(port, request):
    """Sends the bytes of a request on a connection of its own, see `read_answer`."""
    with connect(port) as connection:
        connection.sendall(request)
        return read_answer(connection)


def until(condition):
    """Waits for a condition; fails if it does not come true."""
    pause = threading.Event()
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition does not come true"
        pause.wait(0.01)


def labels_of(body):
    """The labels that each image of an answer of /predict has."""
    return [[found["label"] for found in entry["detections"]] for entry in json.loads(body)]
