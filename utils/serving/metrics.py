"""The metrics of the service, for Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from utils.serving.refusals import Cause

disable_created_metrics()  # they double the output, and nobody asked for them

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts requests, rejections, batches and their times.

    Every service has its own registry, so that one process may have several.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "swapyolo_requests",
            "Requests by path and status",
            ["path", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "swapyolo_request_seconds",
            "Time from the head of a request to the end of its answer",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self._rejections = Counter(
            "swapyolo_rejections", "Requests that were not served", ["cause"], registry=registry
        )
        self._batches = Histogram(
            "swapyolo_batch_images",
            "Images per call of the network",
            buckets=IMAGES,
            registry=registry,
        )
        self._network = Histogram(
            "swapyolo_network_seconds",
            "Time per call of the network, with non-maximum suppression",
            buckets=SECONDS,
            registry=registry,
        )
        self._lost_lines = Counter(
            "swapyolo_lost_log_lines", "Log lines that could not be written", registry=registry
        )

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Adds a value that is read when the metrics are."""
        Gauge(name, text, registry=self._registry).set_function(read)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Counts an answered request; `path` is one of the routes, not what a client wrote."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_rejection(self, cause: Cause) -> None:
        """Counts a request that was not served."""
        self._rejections.labels(cause).inc()

    def count_batch(self, images: int, seconds: float) -> None:
        """Counts a call of the network."""
        self._batches.observe(images)
        self._network.observe(seconds)

    def count_lost_line(self) -> None:
        """Counts a line that the log has lost."""
        self._lost_lines.inc()

    def text(self) -> bytes:
        """Returns all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
