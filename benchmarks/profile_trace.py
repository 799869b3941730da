"""Records training steps with TensorFlow's profiler and splits their time among operations."""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from utils.errors import JobError

STEP = "profiled_step"
BEGIN, END = 0, 1
XLA = "XlaFusion"  # type of an operation that XLA compiled
OPERATIONS = 2  # level of the profiler at which it records all operations of TensorFlow


class Operation(NamedTuple):
    """A node of the graph of a step.

    Attributes:
        name: Name of the node, which starts with the names of its layers.
        type: Type of the operation as executed, such as `_MklNativeConv2D`.
    """

    name: str
    type: str


class Interval(NamedTuple):
    """One execution of an operation, in picoseconds of the clock of the profiler."""

    operation: Operation
    start: int
    end: int


@dataclass(frozen=True)
class StepTrace:
    """One recorded step.

    Attributes:
        seconds: Time of the step.
        shares: Seconds of each operation; they add up to `busy`.
        counts: Number of executions of each operation.
        busy: Seconds in which at least one operation was running.
        threads: Sum of the durations of all operations, in seconds.
    """

    seconds: float
    shares: Counter[Operation]
    counts: Counter[Operation]
    busy: float
    threads: float


def record(step: Callable[[], object], count: int) -> list[StepTrace]:
    """Records some steps.

    Args:
        step: Runs one step and waits for its result.
        count: Number of steps.

    Raises:
        JobError: The profiler recorded no operations.
    """
    import tensorflow as tf

    options = tf.profiler.experimental.ProfilerOptions(
        host_tracer_level=OPERATIONS, python_tracer_level=0, device_tracer_level=0
    )
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, options):
            for number in range(count):
                with tf.profiler.experimental.Trace(STEP, step_num=number, _r=1):
                    step()
        files = list(Path(folder).rglob("*.xplane.pb"))
        windows, intervals = _read(files[0].read_bytes()) if files else ([], [])
    if len(windows) != count or not intervals:
        raise JobError("TensorFlow's profiler recorded no operations; is another profiler running?")
    return [
        split_time([i for i in intervals if start <= i.start and i.end <= end], start, end)
        for start, end in windows
    ]


def split_time(intervals: Sequence[Interval], start: int, end: int) -> StepTrace:
    """Splits the time of a step among its operations.

    While several operations run at the same time, each of them gets an equal part of that time. So
    the parts add up to the time of the step, and an operation that keeps the other threads waiting
    gets more than one that runs beside another.

    Args:
        intervals: Executions of operations between `start` and `end`.
        start: Start of the step in picoseconds.
        end: End of the step in picoseconds.
    """
    edges = sorted(  # the start of an empty interval comes before its end
        [(interval.start, BEGIN, number) for number, interval in enumerate(intervals)]
        + [(interval.end, END, number) for number, interval in enumerate(intervals)]
    )
    parts: Counter[Operation] = Counter()
    running: set[int] = set()
    busy, last = 0, start
    for time, edge, number in edges:
        if running:
            busy += time - last
            for other in running:
                parts[intervals[other].operation] += (time - last) / len(running)
        last = time
        if edge == BEGIN:
            running.add(number)
        else:
            running.remove(number)
    return StepTrace(
        seconds=(end - start) / 1e12,
        shares=Counter({operation: part / 1e12 for operation, part in parts.items()}),
        counts=Counter(interval.operation for interval in intervals),
        busy=busy / 1e12,
        threads=sum(interval.end - interval.start for interval in intervals) / 1e12,
    )


def _read(data: bytes) -> tuple[list[tuple[int, int]], list[Interval]]:
    """Returns start and end of the steps, and all executions of operations."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    windows, intervals = [], []
    for plane in xplane_pb2.XSpace.FromString(data).planes:
        stats = {number: stat.name for number, stat in plane.stat_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                metadata = plane.event_metadata[event.metadata_id]
                start = 1000 * line.timestamp_ns + event.offset_ps
                end = start + event.duration_ps
                if metadata.name == STEP:
                    windows.append((start, end))
                elif metadata.display_name:  # only events of operations have one: their type
                    name = metadata.name.removesuffix(f":{metadata.display_name}")
                    operation = Operation(name, metadata.display_name)
                    intervals.append(Interval(operation, start, end))
                elif "hlo_op" in (stats.get(stat.metadata_id) for stat in event.stats):
                    intervals.append(Interval(Operation(metadata.name, XLA), start, end))
    return sorted(windows), intervals
