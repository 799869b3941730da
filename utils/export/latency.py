"""Times calls of several runtimes in one process."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def time_in_turn(
    functions: Mapping[Name, Callable[[], object]], rounds: int, calls: int
) -> dict[Name, list[float]]:
    """Times functions in short alternating blocks, so that a slow phase affects all of them.

    The first call of each block is not timed. In it, the threads of this runtime wake up, those of
    the runtime before stop to wait for work, and the caches are filled.

    Args:
        functions: Functions to call, by name.
        rounds: Number of blocks per function.
        calls: Number of timed calls per block.

    Returns:
        Milliseconds of each timed call, by name.
    """
    milliseconds: dict[Name, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            function()
            for _ in range(calls):
                start = time.perf_counter()
                function()
                milliseconds[name].append(1000 * (time.perf_counter() - start))
    return milliseconds


def median_ms(
    functions: Mapping[Name, Callable[[], object]], rounds: int, calls: int
) -> dict[Name, float]:
    """Returns the median milliseconds of a call, by name; see `time_in_turn`."""
    timed = time_in_turn(functions, rounds, calls)
    return {name: statistics.median(values) for name, values in timed.items()}
