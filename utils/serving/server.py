"""The process of the service: its socket, its signals and its end."""

import contextlib
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import uvicorn

from utils.errors import UserError
from utils.serving.app import create_app
from utils.serving.connections import connection_class
from utils.serving.log import configure_log
from utils.serving.network import Network
from utils.serving.service import Service
from utils.serving.settings import ServingSettings
from utils.streams import drop_unwritable_output

LOG = logging.getLogger("swapyolo.serve")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
KEEP_ALIVE = 30  # seconds without a request after which a connection is closed
BACKLOG = 2048  # connections that wait to be accepted; the kernel may allow fewer
GRACE = 0.5  # seconds in which the last errors reach their clients
MOST_FILES = 65_536


def bind(host: str, port: int) -> socket.socket:
    """Reserves an address. Connections are refused until the service listens.

    Args:
        host: Name or address.
        port: Port; 0 for any free one.

    Raises:
        UserError: The address is not valid, not of this machine, or in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio sets TCP_NODELAY only if the protocol is stated. Without it, the body of each
        # answer waits 40 ms for the client to confirm its head.
        bound = socket.socket(family, kind, protocol)
        if os.name == "posix":  # on Windows it would allow two services on one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, UnicodeError) as error:  # the latter for names such as 127..0.1
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UserError(
            f"cannot listen on {host} port {port}: {reason}; choose another --host or --port"
        ) from error
    return bound


def address_of(bound: socket.socket) -> str:
    """Returns the URL of a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(network: Network, settings: ServingSettings, bound: socket.socket) -> None:
    """Serves until SIGTERM or Ctrl-C; requests that were accepted are answered before the end.

    Args:
        network: The network, after its warm-up.
        settings: The settings of the service.
        bound: The socket of `bind`.
    """
    service = Service(network, settings, end_process)
    configure_log(service.metrics)
    _raise_limit_of_files()
    service.start()
    make_server(service, bound).run(sockets=[bound])
    service.stop()


def make_server(service: Service, bound: socket.socket) -> uvicorn.Server:
    """Makes the server of a service, whose threads must be started, on the socket of `bind`."""
    settings = service.settings
    config = uvicorn.Config(
        create_app(service),
        http=connection_class(settings.timeout, service.metrics),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(settings.timeout) + 1,
    )
    return _Server(config, service, address_of(bound))


def end_process(reason: str) -> None:
    """Ends the process with an error, whatever its threads do.

    Args:
        reason: Why.
    """
    LOG.critical("error: %s, so the service ends; start it again", reason)
    time.sleep(GRACE)
    os._exit(1)  # a thread that hangs in a library would keep Python from exiting


class _Server(uvicorn.Server):
    """A server that prints its address, and exits with 0 after a signal."""

    def __init__(self, config: uvicorn.Config, service: Service, address: str):
        super().__init__(config)
        self._service = service
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and says so."""
        await super().startup(sockets)
        try:
            print(self._address, flush=True)
        except OSError as error:  # as for the log, a full disk is not the end
            LOG.warning("cannot write the address to standard output: %s", error)
            drop_unwritable_output()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals; uvicorn would raise them again at the end, which is an error there."""
        if threading.current_thread() is not threading.main_thread():  # where no signals arrive
            yield
            return
        previous = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuses new requests from now on; a second Ctrl-C does not wait for the others."""
        self._service.stopping = True
        super().handle_exit(sig, frame)


def _raise_limit_of_files() -> None:
    """Allows as many connections as the system does; the default is often 1024 files."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
