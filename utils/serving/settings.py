"""The settings of the service."""

from dataclasses import dataclass, field
from pathlib import Path

MEBIBYTE = 2**20
MEGAPIXEL = 10**6
MAX_IMAGES = 64  # per request
# Of a request. With more, non-maximum suppression takes seconds per image in the worst case.
MAX_BOXES = 1000
# Bodies that are received or waiting may together hold this many times the limit of one body.
BODIES_IN_MEMORY = 16


@dataclass(frozen=True)
class ServingSettings:
    """How the service treats requests.

    Attributes:
        max_batch: Maximum number of images per call of the network, unless it has a fixed number.
        max_wait: Seconds that an image waits for others to fill a batch; 0 takes those that wait
            already.
        queue: Maximum number of requests that are accepted and not yet answered.
        timeout: Seconds from the first byte of a request to its answer.
        max_bytes: Maximum size of a body, after inflating.
        max_pixels: Maximum number of pixels per image.
        token: The bearer token that requests must carry; None for no check.
        local_host: Name or address that requests must be addressed to, besides the usual ones of
            this machine; None to accept all.
        hang_after: Seconds of one call of the network after which the process ends.
        logs: Folder of the runs whose curves the page shows.
        data: VOC folder that the page shows with detections; None for none.
    """

    max_batch: int = 1
    max_wait: float = 0.0
    queue: int = 32
    timeout: float = 30.0
    max_bytes: int = 32 * MEBIBYTE
    max_pixels: int = 50 * MEGAPIXEL
    token: str | None = field(default=None, repr=False)
    local_host: str | None = None
    hang_after: float = 60.0
    logs: Path = Path("logs")
    data: Path | None = None
