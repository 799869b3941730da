"""The log of the service, on standard error."""

import logging

from utils.serving.metrics import Metrics

FORMAT = "%(asctime)s %(levelname)s %(message)s"


class LogHandler(logging.StreamHandler):
    """Writes lines to standard error, and counts those that cannot be written.

    A full disk must not end the service, nor its answers.

    Args:
        metrics: Counts the lines.
    """

    def __init__(self, metrics: Metrics):
        super().__init__()
        self._metrics = metrics
        self.setFormatter(logging.Formatter(FORMAT))

    def handleError(self, record: logging.LogRecord) -> None:
        """Counts a line that is lost."""
        self._metrics.count_lost_line()


def configure_log(metrics: Metrics) -> None:
    """Sends one line per request, and the warnings of libraries, to standard error."""
    logging.getLogger().addHandler(LogHandler(metrics))
    logging.getLogger("swapyolo.serve").setLevel(logging.INFO)
    # It announces its start, its end, and each bad request, which the connection does too.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
