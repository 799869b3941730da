"""The task of `POST /predict`: images in, JSON or a picture out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from starlette.responses import Response

from utils.inference.detections import to_json
from utils.inference.thresholds import Thresholds
from utils.serving.decoding import decode_all, draw
from utils.serving.multipart import Upload, split_multipart
from utils.serving.network import Network
from utils.serving.refusals import bad_request
from utils.serving.service import Results
from utils.serving.work import Picture

MULTIPART = "multipart/form-data"
# What curl and other clients say about a body of their user's, besides nothing at all.
PLAIN_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
BODY = "body"  # name of the only image of a request


@dataclass(frozen=True)
class PredictSettings:
    """What a request asks for.

    Attributes:
        content_type: Content-Type of the body.
        thresholds: Thresholds of the detections.
        as_picture: Whether the answer is the image with its detections, instead of JSON.
        max_pixels: Maximum number of pixels per image.
    """

    content_type: str
    thresholds: Thresholds
    as_picture: bool
    max_pixels: int


class PredictTask:
    """A `Task` that answers as predict.py does.

    Args:
        body: The body.
        settings: What the request asks for.
        network: The network.
    """

    def __init__(self, body: bytes, settings: PredictSettings, network: Network):
        self.is_quick = not settings.as_picture
        self._body = body
        self._settings = settings
        self._network = network

    @cached_property
    def _uploads(self) -> list[Upload]:
        if is_multipart(self._settings.content_type):
            return split_multipart(self._body, self._settings.content_type)
        return [Upload(BODY, self._body)]

    def pictures(self) -> Iterator[Picture]:
        """Decodes the images one by one, see `Task`."""
        settings = self._settings
        if settings.as_picture and len(self._uploads) > 1:
            raise bad_request("Accept: image/jpeg gives one picture, send one image per request")
        yield from decode_all(
            self._uploads, self._network, settings.max_pixels, settings.thresholds
        )

    def answer(self, results: Results) -> Response:
        """Makes the answer, see `Task`."""
        classes = self._network.metadata.classes
        if self._settings.as_picture:
            ((_, found),) = results
            data = draw(self._uploads[0], self._settings.max_pixels, found, classes)
            return Response(data, media_type="image/jpeg")
        entries = [
            to_json(picture.source, picture.pixels.fit.original, found, classes)
            for picture, found in results
        ]
        return Response(json.dumps(entries), media_type="application/json")


def is_multipart(content_type: str) -> bool:
    """Returns whether a Content-Type is that of a form with files."""
    return content_type.partition(";")[0].strip().lower() == MULTIPART


def is_accepted(content_type: str) -> bool:
    """Returns whether a Content-Type may be that of images."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == MULTIPART or kind in PLAIN_TYPES or kind.startswith("image/")


def prefers_picture(accept: str) -> bool:
    """Returns whether an Accept header prefers a JPEG file, or any image, to JSON; */* does not."""
    weights = {}
    for entry in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            weights[kind] = float(weight)
        except ValueError:  # as if it were not there
            weights[kind] = 0.0
    others = ("application/json", "application/*", "*/*")
    json_weight = max(weights.get(kind, 0.0) for kind in others)
    return 0 < weights.get("image/jpeg", weights.get("image/*", 0.0)) >= json_weight
