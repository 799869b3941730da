"""The tables of `benchmarks.training_profile`."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.profile_kinds import (
    CONVOLUTIONS,
    DIRECTIONS,
    KINDS,
    ONEDNN,
    Work,
    kinds_of_layers,
    work_of,
)
from benchmarks.profile_trace import Operation, StepTrace

if TYPE_CHECKING:
    from benchmarks.profile_limits import Limits
    from nets.detector import Detector

GIGA = 1e9


@dataclass(frozen=True)
class Profile:
    """Recorded steps and what their operations do.

    Attributes:
        traces: The steps.
        work: What each operation does.
    """

    traces: Sequence[StepTrace]
    work: Mapping[Operation, Work]

    @classmethod
    def of(cls, traces: Sequence[StepTrace], detector: "Detector") -> "Profile":
        """Assigns the operations of recorded steps to the layers of a detector."""
        layers = kinds_of_layers(detector)
        operations = {operation for trace in traces for operation in trace.counts}
        return cls(traces, {operation: work_of(operation, layers) for operation in operations})

    @property
    def seconds(self) -> float:
        """Seconds of a step, median."""
        return median(trace.seconds for trace in self.traces)

    def split(
        self, key: Callable[[Operation, Work], Hashable]
    ) -> list[tuple[Hashable, float, float]]:
        """Groups the operations.

        Args:
            key: Returns the group of an operation.

        Returns:
            Group, seconds per step and executions per step, medians over the steps; the group that
            takes most time first.
        """
        times, counts = [], []
        for trace in self.traces:
            time, count = Counter(), Counter()
            for operation, executions in trace.counts.items():
                group = key(operation, self.work[operation])
                time[group] += trace.shares[operation]
                count[group] += executions
            times.append(time)
            counts.append(count)
        groups = {group for count in counts for group in count}
        rows = [
            (group, median(t[group] for t in times), median(c[group] for c in counts))
            for group in groups
        ]
        return sorted(rows, key=lambda row: row[1], reverse=True)


def kind_rows(
    profile: Profile, limits: "Limits", measured: Mapping[object, Sequence[float]]
) -> list[dict[str, object]]:
    """Returns a row per kind of work and direction.

    Args:
        profile: The recorded steps.
        limits: What the kinds could reach.
        measured: Seconds of each call of each function in `limits`.
    """
    found = {
        group: (time, count)
        for group, time, count in profile.split(lambda _, work: (work.kind, work.direction))
    }
    least, flops = limits.seconds(measured), limits.work_of_convolutions()
    rows = []
    for kind in KINDS:
        for direction in (*DIRECTIONS, ""):
            group = (kind, direction)
            if group not in found:
                continue
            time, count = found[group]
            if kind in CONVOLUTIONS:
                done, unit = flops[group], "GFLOP/s"
            else:
                done, unit = limits.moved[group], "GB/s"
            row = _row(f"{kind}, {direction}".strip(", "), time, count, profile.seconds)
            if least[group]:
                row |= {
                    "reached": f"{done / time / GIGA:.1f} {unit}",
                    "limit": f"{done / least[group] / GIGA:.1f} {unit}",
                    "limit, ms": f"{1e3 * least[group]:.1f}",
                    "share of the limit": f"{least[group] / time:.2f}",
                }
            rows.append(row)
    traces = profile.traces
    idle = median(trace.seconds - trace.busy for trace in traces)
    threads = median(trace.threads / trace.busy for trace in traces)
    executions = median(trace.counts.total() for trace in traces)
    whole = sum(least.values())
    rows.append(_row("no operation is running", idle, 0, profile.seconds))
    rows.append(
        _row(f"whole step, {threads:.2f} at a time", profile.seconds, executions, profile.seconds)
        | {
            "limit, ms": f"{1e3 * whole:.1f}",
            "share of the limit": f"{whole / profile.seconds:.2f}",
        }
    )
    return rows


def part_rows(profile: Profile) -> list[dict[str, object]]:
    """Returns a row per part of the network."""
    split = profile.split(lambda _, work: f"{work.part} {work.direction}".strip())
    return [_plain_row({"part": group}, *numbers, profile.seconds) for group, *numbers in split]


def type_rows(profile: Profile) -> list[dict[str, object]]:
    """Returns a row per type of operation within a kind of work, the slowest first."""
    split = profile.split(lambda operation, work: (ONEDNN.sub("", operation.type), work.kind))
    return [
        _plain_row({"operation": group[0], "kind": group[1]}, *numbers, profile.seconds)
        for group, *numbers in split
    ]


def _row(what: str, seconds: float, count: float, whole: float) -> dict[str, object]:
    empty = dict.fromkeys(("reached", "limit", "limit, ms", "share of the limit"), "")
    return _plain_row({"what": what}, seconds, count, whole) | empty


def _plain_row(
    names: dict[str, object], seconds: float, count: float, whole: float
) -> dict[str, object]:
    return {
        **names,
        "ms": f"{1e3 * seconds:.2f}",
        "share": f"{seconds / whole:.3f}",
        "operations": f"{count:.0f}" if count else "",
    }
