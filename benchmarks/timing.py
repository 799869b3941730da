"""Helpers of all benchmarks: timing, processes, medians, memory peaks and tables."""

import json
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from utils.errors import UserError
from utils.files import written_whole

T = TypeVar("T")


def interleaved(
    functions: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Times several functions in turn, so that a slow phase of the machine affects all of them.

    Args:
        functions: Functions to call, by name.
        repeats: Number of timed calls per function.
        warm_up: Number of untimed calls per function before the first timed one.

    Returns:
        Seconds of each call, by name.
    """
    for function in functions.values():
        for _ in range(warm_up):
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(seconds: Mapping[str, list[float]], name: str, base: str) -> float:
    """Median of the ratio of `name` to `base` in the same round."""
    pairs = zip(seconds[name], seconds[base], strict=True)
    return statistics.median(numerator / denominator for numerator, denominator in pairs)


def milliseconds(seconds: list[float]) -> str:
    """Formats the median in milliseconds, and the range from the 10% to the 90% quantile."""
    ordered = sorted(seconds)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return f"{1e3 * statistics.median(seconds):.1f} ({1e3 * low:.1f} to {1e3 * high:.1f})"


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the median, and the lower and upper quartile."""
    lower, median, upper = statistics.quantiles(values, n=4)
    return median, lower, upper


def in_a_process(function: Callable[..., T], *args: object) -> T:
    """Calls a function in a new process and returns its result."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        return pool.submit(function, *args).result()


def peak_gib(usage: resource.struct_rusage) -> float:
    """Peak resident memory of a process, in GiB."""
    return usage.ru_maxrss / 2**20  # in KiB on Linux


def keep_settings(folder: Path, settings: Mapping[str, object]) -> None:
    """Writes the settings of a benchmark to its output folder, unless it has other settings.

    Raises:
        UserError: The folder has results of other settings.
    """
    path, text = folder / "settings.json", json.dumps(settings, indent=2, default=str) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UserError(f"{folder} has results of other settings, see {path}; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, document: object) -> None:
    """Writes a JSON document whole."""
    with written_whole(path) as (part,):
        part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Formats rows, cells by column, as a Markdown table; all rows have the same columns."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns)]
    lines += [[str(row[column]) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(title: str, rows: list[dict[str, object]], out: Path | None) -> None:
    """Prints a Markdown table and optionally writes it as JSON.

    Args:
        title: Line above the table.
        rows: Cells by column, all with the same keys.
        out: The JSON file to write; None to write no file.
    """
    print(title, "", markdown_table(rows), sep="\n")
    if out:
        write_json(out, {"title": title, "rows": rows})
