"""How many inputs the fuzzing tests try."""

import pytest
from hypothesis import HealthCheck, given, settings

SHORT, LONG = 10, 10_000
LONGEST = 7200  # seconds of a long run

# What hypothesis warns of says nothing here: large files, slow readers, and a folder of the test
# that all inputs share.
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
CHECKS += [HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]


@pytest.fixture(
    params=[
        pytest.param(SHORT, id="short"),
        pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(LONGEST)], id="long"),
    ]
)
def fuzz(request):
    """Returns a function that calls a check with random inputs."""

    def run(check, **strategies):
        run_settings = settings(max_examples=request.param, suppress_health_check=CHECKS)
        run_settings(given(**strategies)(lambda **values: check(**values) and None))()

    return run
