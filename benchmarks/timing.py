"""What all benchmarks share: interleaved repeats, medians, peaks, and a table with its JSON."""

import json
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from utils.errors import UserError


def interleaved(
    works: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Times several works in turn, so that a slow moment of the machine strikes all of them.

    Args:
        works: what to call, by name.
        repeats: how often each is timed.
        warm_up: how often each is called before.

    Returns:
        Seconds of each call, by name.
    """
    for work in works.values():
        for _ in range(warm_up):
            work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(seconds: Mapping[str, list[float]], name: str, base: str) -> float:
    """Median of how many times longer `name` took than `base` in the same round."""
    pairs = zip(seconds[name], seconds[base], strict=True)
    return statistics.median(one / other for one, other in pairs)


def milliseconds(seconds: list[float]) -> str:
    """Median and the spread without the tenth on either side."""
    ordered = sorted(seconds)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return f"{1e3 * statistics.median(seconds):.1f} ({1e3 * low:.1f} to {1e3 * high:.1f})"


def peak_gib(usage: resource.struct_rusage) -> float:
    """The most memory that a process has held in RAM, in GiB."""
    return usage.ru_maxrss / 2**20  # on Linux it is in KiB


def keep_settings(folder: Path, settings: Mapping[str, object]) -> None:
    """Writes what a job's results in a folder are made with, and refuses those of another job.

    Raises:
        UserError: the folder holds results of other settings.
    """
    path, text = folder / "settings.json", json.dumps(settings, indent=2, default=str) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UserError(f"{folder} has results of other settings, see {path}; name another --out")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def report(title: str, rows: list[dict[str, object]], out: Path | None) -> None:
    """Prints rows of equal keys as a Markdown table, and writes them as JSON where asked to."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns)]
    lines += [[str(row[column]) for column in columns] for row in rows]
    print(title, "", *(f"| {' | '.join(line)} |" for line in lines), sep="\n")
    if out:
        out.write_text(
            json.dumps({"title": title, "rows": rows}, indent=2) + "\n", encoding="utf-8"
        )
