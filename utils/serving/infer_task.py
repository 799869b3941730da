"""The task of the open inference protocol: images in, outputs of the network out."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from starlette.responses import Response

from utils.inference.engines.session import expected_shapes
from utils.inference.metadata import Metadata
from utils.serving.decoding import decode_all
from utils.serving.network import Network
from utils.serving.protocol import (
    INPUT,
    InferRequest,
    check_answer,
    parse_request,
    write_response,
)
from utils.serving.service import Results
from utils.serving.work import Picture


class InferTask:
    """A `Task` that answers with the outputs of the network, as the exported file has them.

    Args:
        body: The body.
        header_length: Number of bytes of the JSON in it, see `utils.serving.protocol`.
        network: The network.
        max_pixels: Maximum number of pixels per image.
    """

    is_quick = False

    def __init__(self, body: bytes, header_length: str | None, network: Network, max_pixels: int):
        self._body = body
        self._header_length = header_length
        self._network = network
        self._max_pixels = max_pixels

    @cached_property
    def _request(self) -> InferRequest:
        metadata = self._network.metadata
        return parse_request(
            self._body, self._header_length, metadata.input_size, output_names(metadata)
        )

    def pictures(self) -> Iterator[Picture]:
        """Reads the images one by one, see `Task`."""
        check_answer(self._request, expected_shapes(self._network.metadata))
        if self._request.canvases is None:
            yield from decode_all(self._request.files, self._network, self._max_pixels, None)
            return
        for index, canvas in enumerate(self._request.canvases):
            yield Picture(f"{INPUT}[{index}]", canvas, None)

    def answer(self, results: Results) -> Response:
        """Makes the answer, see `Task`."""
        tensors = {
            name: np.stack([outputs[name] for _, outputs in results])
            for name in self._request.outputs
        }
        body, headers = write_response(self._request, tensors)
        return Response(body, headers=headers)


def output_names(metadata: Metadata) -> list[str]:
    """Returns the names of the outputs of a model."""
    return [name for name in expected_shapes(metadata) if name != INPUT]
