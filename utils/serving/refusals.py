"""Refusals: answers to requests that are not served, with status and cause."""

from typing import Literal

Cause = Literal[
    "bad_request",
    "unauthorized",
    "wrong_host",
    "not_found",
    "too_large",
    "too_many_pixels",
    "media_type",
    "queue_full",
    "memory_full",
    "stopping",
    "deadline",
    "cancelled",
    "failed",
]


class Refusal(Exception):
    """Ends a request with an error.

    Attributes:
        status: Status of the answer.
        cause: Label of the metric of rejections.
        text: The error, in one line.
        retry_after: Seconds after which the client may try again; None if that does not help.
    """

    def __init__(self, status: int, cause: Cause, text: str, retry_after: int | None = None):
        super().__init__(text)
        self.status = status
        self.cause = cause
        self.text = text
        self.retry_after = retry_after


def bad_request(text: str) -> Refusal:
    """Returns the refusal of a request that is wrong in itself."""
    return Refusal(400, "bad_request", text)


def too_late() -> Refusal:
    """Returns the refusal of a request whose deadline has passed."""
    return Refusal(504, "deadline", "the request was not answered in time, try again later", 1)


def broken(reason: str) -> Refusal:
    """Returns the refusal of a service that cannot compute any more, and ends."""
    return Refusal(503, "failed", f"{reason}, the service restarts", 1)


FAILED = "the service failed on this request, see its log under the X-Request-Id of this answer"
