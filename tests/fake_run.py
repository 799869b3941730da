"""A run with a fake network, for tests of get_map.py."""

from contextlib import nullcontext
from types import SimpleNamespace

from nets.versions import VERSIONS
from utils.run import Run


def make_run(path, detect, classes, input_size=(64, 64)):
    """Makes a run.

    Args:
        path: The run directory; it need not exist.
        detect: Replaces `Detector.detect`.
        classes: Names of the classes.
        input_size: Height and width of the input.
    """
    detector = SimpleNamespace(
        input_size=input_size,
        anchors=VERSIONS["v4"].anchor_array,
        detect=detect,
        as_constants=nullcontext,
    )
    return Run(path, SimpleNamespace(resize="letterbox"), classes, detector)
