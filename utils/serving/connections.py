"""The connections of clients: uvicorn's, with an end for those that send or read too slowly."""

import asyncio
import logging
import uuid

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from utils.serving.gate import REQUEST_ID, error_body
from utils.serving.metrics import Metrics

LOG = logging.getLogger("swapyolo.serve")
# Seconds that a client has for the head of a request, and for the rest of a body that is refused.
# uvicorn itself waits for both without end.
PATIENCE = 10.0


def connection_class(timeout: float, metrics: Metrics) -> type[H11Protocol]:
    """Makes the class of connections of a service.

    Args:
        timeout: Seconds that a client has to read an answer.
        metrics: Counts requests that are not HTTP.
    """
    patience = min(timeout, PATIENCE)

    class Connection(H11Protocol):
        """A connection that does not stay open without a request."""

        _waiting: asyncio.TimerHandle | None = None
        _writing: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            """Expects the head of a request."""
            super().connection_made(transport)
            self._expect_request()

        def data_received(self, data: bytes) -> None:
            """Handles data; what belongs to no request that is served may not come for long."""
            super().data_received(data)
            self._expect_request()

        def connection_lost(self, error: Exception | None) -> None:
            """Ends the timers."""
            super().connection_lost(error)
            self._end_waiting()
            self.resume_writing()

        def on_response_complete(self) -> None:
            """Expects the next request, or the rest of a body that was refused."""
            super().on_response_complete()
            if self.conn.their_state is h11.SEND_BODY:
                self._expect_request()

        def pause_writing(self) -> None:
            """Called while the client does not read what was sent."""
            super().pause_writing()
            self._writing = self.loop.call_later(timeout, self.transport.abort)

        def resume_writing(self) -> None:
            """Called when the client reads again."""
            super().resume_writing()
            if self._writing:
                self._writing.cancel()
                self._writing = None

        def send_400_response(self, msg: str) -> None:
            """Refuses what is not HTTP; there is no request that the routes could see."""
            name, body = uuid.uuid4().hex[:16], error_body("the request is not valid HTTP/1.1")
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                (REQUEST_ID, name.encode()),
            ]
            metrics.count_request("other", 400, 0.0)
            metrics.count_rejection("bad_request")
            LOG.info("id=%s client=%s status=400 error=%s", name, (self.client or "-")[0], msg)
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
                for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event))
            self.transport.close()

        def _expect_request(self) -> None:
            """Starts a timer unless a request is being served, and stops it when one is."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._end_waiting()
            elif self._waiting is None:
                self._waiting = self.loop.call_later(patience, self.transport.abort)

        def _end_waiting(self) -> None:
            if self._waiting:
                self._waiting.cancel()
                self._waiting = None

    return Connection
