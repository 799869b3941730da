"""Starts a cluster of Ray on this machine, or connects to one."""

import contextlib
import importlib.util
import logging
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from utils.cli import import_tensorflow
from utils.errors import UserError
from utils.interrupts import handled
from utils.packages import missing_package
from utils.streams import silent_stderr

REQUIREMENTS = "requirements-ray.txt"
ROOT = Path(__file__).parents[2]
# Ray's words for a new cluster, and for one that was started on this machine.
LOCAL, AUTO = "local", "auto"
LATEST_CLUSTER = "ray/ray_current_cluster"  # file in which `ray start` writes the address
SECONDS_TO_ANSWER = 10
# Through it go only the addresses of the sources and the entries of the manifest.
OBJECT_STORE = 100_000_000  # bytes; Ray needs at least 75 MB
# Each part is read in new threads. With glibc's default of eight heaps per core, they leave their
# largest memory behind in one heap after another: a third more memory, and no more images/s.
MALLOC_ARENAS = "MALLOC_ARENA_MAX"


def require_ray() -> None:
    """Checks that Ray is installed, without the second that its import takes.

    Raises:
        UserError: It is not.
    """
    for package in ("ray", "pyarrow"):
        if importlib.util.find_spec(package) is None:
            raise missing_package("--workers ray", package, REQUIREMENTS)


def leave_gpus() -> None:
    """Keeps this process from taking the memory of the GPUs, which the workers need."""
    import_tensorflow()
    import tensorflow

    tensorflow.config.set_visible_devices([], "GPU")


def find_cluster(address: str | None) -> str:
    """Returns the address of a cluster at which something listens, or `local` for a new cluster.

    Args:
        address: `HOST:PORT`, `auto` or `local`; None for that of RAY_ADDRESS, or else for `local`.

    Raises:
        UserError: It is no address, or nothing listens there.
    """
    variable = os.environ.get("RAY_ADDRESS")
    address = address or variable or LOCAL
    if address == AUTO and variable in (None, "", AUTO):  # Ray prefers the variable
        # Ray would wait for minutes for a cluster that has ended without `ray stop`.
        recorded = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / LATEST_CLUSTER
        if recorded.is_file():
            _check_reachable(recorded.read_text().strip(), "; start one, or run `ray stop`")
    elif address not in (AUTO, LOCAL):
        _check_reachable(address, ", check the address")
    return address


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Connects to a cluster inside a `with` block.

    SIGTERM and SIGHUP interrupt the block as Ctrl-C does.

    Args:
        address: From `find_cluster`. A new cluster ends with the block.

    Raises:
        UserError: There is no cluster at the address.
    """
    is_new = address == LOCAL
    _configure(is_new)
    import ray.data

    options = {
        # Workers report in the records and by exceptions. What they print is in Ray's log files.
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        # Workers on other machines run the code of this process.
        "runtime_env": {
            "py_modules": [str(ROOT / package) for package in ("nets", "utils")],
            "env_vars": {MALLOC_ARENAS: os.environ.get(MALLOC_ARENAS, "2")},
        },
    }
    # Ray prints there, up to its end, that workers died.
    with Path(os.devnull).open("w") as devnull, contextlib.redirect_stdout(devnull):
        try:
            # Ray says on standard error in which variable it found its log level.
            with silent_stderr(), _interruptible():
                if is_new:
                    new = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
                    ray.init(LOCAL, **new, **options)
                else:
                    _connect(address, options)
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised here
            with _interruptible():  # again, since Ray has begun to handle SIGTERM itself
                yield
        finally:
            ray.shutdown()


def _configure(is_new: bool) -> None:
    """Sets the variables that Ray reads when it is imported, and passes to its processes."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no network unless asked
    # Ray restarts workers that died. It writes many lines about that, and about what could happen.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if is_new:
        # Whoever can connect can run code. So only this machine can, and only with this token.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # lets Ray listen on loopback only
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _connect(address: str, options: dict[str, object]) -> None:
    import ray

    try:
        ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"cannot connect to the Ray cluster {address}, check the address and that its version "
            f"is {ray.__version__}, and set RAY_AUTH_MODE=token if it wants a token: {error}"
        ) from error


def _check_reachable(address: str, remedy: str) -> None:
    """Checks that something listens at an address; Ray would wait for it for minutes.

    Args:
        address: `HOST:PORT`.
        remedy: What to do otherwise, for the error message.

    Raises:
        UserError: It is no address, or nothing listens there.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not (port.isdecimal() and 0 < int(port) < 2**16):
        raise UserError(f"{address} is no address of a Ray cluster, specify HOST:PORT or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise UserError(f"cannot connect to a Ray cluster at {address}{remedy}: {error}") from error


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP interrupt a `with` block as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        for each in (number, signal.SIGTERM, getattr(signal, "SIGHUP", number)):
            signal.signal(each, signal.SIG_IGN)  # they are often sent twice
        raise KeyboardInterrupt

    with handled(interrupt, signal.SIGTERM):
        try:
            yield
        except SystemExit as error:  # of the handler of SIGTERM that Ray sets when it starts
            raise KeyboardInterrupt from error
