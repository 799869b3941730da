"""Which networks are large: they share the code of small ones, and are tested on request."""

import pytest

LARGE = {f"efficientnetb{number}" for number in range(2, 8)} | {"darknet53", "cspdarknet53"}


def slow_if_large(name, *more):
    """A parameter of a test whose first value is the name of a backbone."""
    return pytest.param(name, *more, marks=[pytest.mark.slow] if name in LARGE else [])
