"""Times calls of several runtimes in one process."""

import time
from collections.abc import Callable, Mapping


def time_in_turn(
    functions: Mapping[str, Callable[[], object]], rounds: int, calls: int
) -> dict[str, list[float]]:
    """Times functions in short alternating blocks, so that a slow phase affects all of them.

    The first call of each block is not timed. In it, the threads of this runtime wake up, those of
    the runtime before stop to wait for work, and the caches are filled.

    Args:
        functions: Functions to call, by name.
        rounds: Number of blocks per function.
        calls: Number of timed calls per block.

    Returns:
        Seconds of each timed call, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            function()
            for _ in range(calls):
                start = time.perf_counter()
                function()
                seconds[name].append(time.perf_counter() - start)
    return seconds
