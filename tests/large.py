"""Large backbones. They share the code of small ones and are only tested on request."""

import pytest

LARGE = {f"efficientnetb{number}" for number in range(1, 8)} | {"darknet53", "cspdarknet53"}


def slow_if_large(name, *more):
    """Returns parameters of a test that begin with a backbone; marked slow if it is large."""
    return pytest.param(name, *more, marks=[pytest.mark.slow] if name in LARGE else [])
