import pytest


@pytest.fixture
def samples(tmp_path):
    """The four samples of tests/tiny_run.py."""
    from tests.tiny_run import four_samples

    return four_samples(tmp_path / "data")
