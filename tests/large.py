"""Which networks are large: they are others made longer and wider, and tested on request."""

import pytest

LARGE = {f"efficientnetb{number}" for number in range(2, 8)}


def slow_if_large(name, *more):
    """A parameter of a test whose first value is the name of a backbone."""
    return pytest.param(name, *more, marks=[pytest.mark.slow] if name in LARGE else [])
