"""The gate around all routes: request id, host, token, errors, log and metrics."""

import json
import logging
import re
import time
import uuid
from dataclasses import dataclass, field

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from utils.serving.hosts import is_this_machine
from utils.serving.metrics import Metrics
from utils.serving.refusals import FAILED, Refusal
from utils.serving.settings import ServingSettings
from utils.serving.tokens import is_authorized
from utils.text import printable

LOG = logging.getLogger("swapyolo.serve")
REQUEST_ID = b"x-request-id"
VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Without a token: what probes and browsers ask for before they can send one. It says nothing about
# the model or its images.
OPEN_PATHS = ("/", "/healthz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json")
OPEN_FOLDER = "/static/"
LONGEST_PATH = 200  # characters in the log


@dataclass
class Exchange:
    """What the gate knows about a request.

    Attributes:
        id: What the log and the answer call it.
        deadline: Time of `time.monotonic` at which it must be answered.
        start: Time at which its head was there.
        refusal: Why it is not served; None if it is.
        status: Status of its answer; 0 before.
    """

    id: str
    deadline: float
    start: float = field(default_factory=time.monotonic)
    refusal: Refusal | None = None
    status: int = 0


def exchange_of(scope: Scope) -> Exchange:
    """Returns the exchange of a request."""
    return scope["state"]["exchange"]


def refuse(scope: Scope, refusal: Refusal) -> Response:
    """Notes why a request is not served, and returns its answer."""
    exchange_of(scope).refusal = refusal
    headers = {}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": refusal.text}, refusal.status, headers)


class Gate:
    """An ASGI application around another one.

    Args:
        app: The routes.
        settings: The settings of the service.
        metrics: Counts the requests.
    """

    def __init__(self, app: ASGIApp, settings: ServingSettings, metrics: Metrics):
        self._app = app
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, whatever happens in the routes, and writes one line to the log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(REQUEST_ID, b"")
        name = given.decode() if VALID_ID.fullmatch(given) else uuid.uuid4().hex[:16]
        exchange = Exchange(name, time.monotonic() + self._settings.timeout)
        scope.setdefault("state", {})["exchange"] = exchange

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message.setdefault("headers", []).append((REQUEST_ID, name.encode()))
            await send(message)

        try:
            self._check_host(headers.get(b"host", b"").decode("latin-1"))
            self._check_token(scope["path"], headers)
            await self._app(scope, receive, send_named)
        except Refusal as refusal:
            await refuse(scope, refusal)(scope, receive, send_named)
        except Exception as error:  # a fault of the service must not be its end
            LOG.error("id=%s failed", name, exc_info=error)
            response = refuse(scope, Refusal(500, "failed", FAILED))
            if not exchange.status:
                await response(scope, receive, send_named)
        finally:
            self._finish(scope, exchange)

    def _check_host(self, given: str) -> None:
        host = self._settings.local_host
        if host is not None and given and not is_this_machine(given, host):
            raise Refusal(
                421,
                "wrong_host",
                f"Host {printable(given)[:50]!r} is not this machine, use localhost, or start "
                "serve.py with --token-file",
            )

    def _check_token(self, path: str, headers: dict[bytes, bytes]) -> None:
        token = self._settings.token
        if token is None or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return
        if not is_authorized(headers.get(b"authorization", b"").decode("latin-1"), token):
            raise Refusal(401, "unauthorized", "send the header Authorization: Bearer TOKEN")

    def _finish(self, scope: Scope, exchange: Exchange) -> None:
        seconds = time.monotonic() - exchange.start
        route = scope.get("route")
        self._metrics.count_request(getattr(route, "path", "other"), exchange.status, seconds)
        if exchange.refusal:
            self._metrics.count_rejection(exchange.refusal.cause)
        client = scope.get("client") or ("-",)
        LOG.info(
            "id=%s client=%s %s %s status=%d ms=%.1f%s",
            exchange.id,
            client[0],
            printable(scope["method"])[:LONGEST_PATH],
            printable(scope["path"])[:LONGEST_PATH],
            exchange.status,
            1000 * seconds,
            f" error={json.dumps(exchange.refusal.text)}" if exchange.refusal else "",
        )


def error_body(text: str) -> bytes:
    """Returns the body of an error."""
    return json.dumps({"error": text}).encode()
