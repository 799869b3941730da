"""Measures the time of a predictor per image."""

import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from utils.data.images import read_image
from utils.data.letterbox import letterbox
from utils.errors import UserError
from utils.inference.predictor import Predictor
from utils.inference.sources import Source
from utils.lookahead import read_one

WARM_UP_RUNS = 3


def measure_speed(predictor: Predictor, path: Path, runs: int) -> dict[str, float]:
    """Times a predictor on one image.

    Args:
        predictor: A predictor with batch size 1.
        path: The image.
        runs: Number of timed runs, after a few warm-up runs.

    Returns:
        Median milliseconds: `end_to_end_ms` from file to boxes, `network_ms` of the network alone.
    """
    canvas = letterbox(read_one(read_image, path), predictor.input_size)[0]
    return {
        "end_to_end_ms": _median_ms(lambda: predictor([read_image(path)]), runs),
        "network_ms": _median_ms(lambda: predictor.engine.forward(canvas), runs),
    }


def print_speed(predictor: Predictor, sources: Iterable[Source], runs: int, as_json: bool) -> None:
    """Prints the median time of the first image over a number of runs.

    Raises:
        UserError: There is no image among the sources.
    """
    path = next((Path(source.address) for source in sources if source.is_image), None)
    if path is None:
        raise UserError("--fps-test needs an image, specify one as SOURCE")
    milliseconds = measure_speed(predictor, path, runs)
    if as_json:
        print(json.dumps({"runs": runs, **milliseconds}))
        return
    names = ("end to end, from file to boxes", "network alone")
    for name, each in zip(names, milliseconds.values(), strict=True):
        print(f"{name:31} {each:8.1f} ms {1000 / each:8.1f} images/s")


def _median_ms(call: Callable[[], object], runs: int) -> float:
    for _ in range(WARM_UP_RUNS):
        call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)
