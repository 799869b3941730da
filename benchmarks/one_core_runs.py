"""Training runs on one core each, as many at a time as there are cores for this process.

Their lengths are numbers of images, so the load of the machine does not matter.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from tqdm import tqdm

from utils.config import Recipe
from utils.cores import logical_cores
from utils.training.schedule import is_frozen, training_size

Job = TypeVar("Job")
T = TypeVar("T")

FROZEN_COST = 0.7  # cost of a step with a frozen backbone, from benchmarks/training_speed.py


def run_on_cores(run: Callable[[Job, int], T], jobs: Sequence[Job], unit: str) -> list[T]:
    """Runs every job, at most one per core at a time.

    Args:
        run: Runs one job on a core, which is given by its number.
        jobs: The jobs.
        unit: What a job is, for the progress bar.

    Returns:
        The results, in the order of the jobs.
    """
    cores: SimpleQueue[int] = SimpleQueue()
    for core in sorted(os.sched_getaffinity(0))[: logical_cores()]:
        cores.put(core)

    def run_one(job: Job) -> T:
        core = cores.get()
        try:
            return run(job, core)
        finally:
            cores.put(core)

    with ThreadPoolExecutor(cores.qsize()) as pool:
        work = [pool.submit(run_one, job) for job in jobs]
        try:
            return [future.result() for future in tqdm(work, unit=unit)]
        finally:
            pool.shutdown(cancel_futures=True)


def child_command(command: Sequence[object], core: int | None = None) -> list[str]:
    """Returns a command that receives SIGTERM when this process ends, even if it is killed.

    Without it, a training would go on alone, beside the benchmark that is started next.

    Args:
        command: Program and arguments.
        core: The core to run on; None for all.
    """
    words = ["setpriv", "--pdeathsig", "TERM", *map(str, command)]
    return words if core is None else ["taskset", "-c", str(core), *words]


def cost(recipe: Recipe, input_size: tuple[int, int]) -> float:
    """Mean cost per image, relative to an image of full size without a frozen backbone."""
    total, parts = 0.0, 1000
    for share in (part / parts for part in range(parts)):
        height, width = training_size(recipe, share, input_size)
        area = height * width / (input_size[0] * input_size[1])
        total += area * (FROZEN_COST if is_frozen(recipe, share) else 1)
    return total / parts
