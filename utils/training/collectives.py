"""Connects the workers of a run, and lets them exchange numbers, through TensorFlow.

TensorFlow's coordination service, which runs in worker 0, notices workers that are lost. A process
that was killed closes its connections, which is noticed at once. A machine that is switched off or
cannot be reached any more is noticed because its heartbeats are missing.
"""

import contextlib
import re
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context  # the coordination service has no public settings

from utils.errors import JobError, UserError
from utils.training.cluster import Cluster
from utils.training.workers import Workers

HEARTBEAT_TIMEOUT = 30  # seconds; TensorFlow's 10 are too few for a machine that is overloaded
JOIN_TIMEOUT = 600  # seconds that workers wait for one another at the start

GROUP = 1_000_003  # key of the group of all workers; TensorFlow counts its own groups from 1

# What TensorFlow raises if a worker is lost; it depends on the operation that is interrupted.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)
HEARTBEAT = "CoordinationService/Heartbeat"  # a call of worker 0
TASK = re.compile(r"/job:(chief|worker)/replica:0/task:([0-9]+)")
# Lines that say where in a graph an error was raised. " (0) " is the first of several errors.
PLACE = re.compile(r"Graph execution error|Detected at |<stack |\d+ root error|\s(?!\s*\(0\))")


def connect(cluster: Cluster) -> tf.distribute.Strategy:
    """Waits for all workers, and returns their common strategy.

    Raises:
        JobError: A worker does not join, or is lost.
        UserError: This worker cannot listen at its address.
    """
    jobs = tf.compat.v1.ConfigProto().experimental.coordination_config.coordinated_job_list
    for kind in sorted({kind for kind, _ in cluster.tasks}):
        jobs.add(name=kind, num_tasks=sum(kind == other for other, _ in cluster.tasks))
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:{}/replica:0/task:{}".format(*cluster.tasks[0]),
        cluster_register_timeout_in_ms=1000 * JOIN_TIMEOUT,
        heartbeat_timeout_in_ms=1000 * HEARTBEAT_TIMEOUT,
        coordinated_jobs=list(jobs),
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.UnknownError as error:
        raise UserError(
            f"{cluster.name(cluster.index)} cannot listen at its port: wait until the process that "
            "uses it has ended, or choose another port in TF_CONFIG"
        ) from error
    except tf.errors.DeadlineExceededError as error:
        raise JobError(
            f"not all of the {len(cluster.addresses)} workers in TF_CONFIG have joined within "
            f"{JOIN_TIMEOUT} s: check that all were started and can reach {cluster.addresses[0]}"
        ) from error
    except LOST as error:
        raise _lost(cluster, error) from error


@contextlib.contextmanager
def watching(cluster: Cluster) -> Iterator[None]:
    """Turns TensorFlow's errors about lost workers into one line for the user.

    Raises:
        JobError: A worker was lost.
    """
    try:
        yield
    except LOST as error:
        if len(cluster.addresses) == 1:
            raise
        raise _lost(cluster, error) from error


@contextlib.contextmanager
def together(workers: Workers) -> Iterator[None]:
    """Returns a context for the work that all workers do; at its end, they wait for one another.

    Raises:
        JobError: A worker was lost.
    """
    with watching(workers.cluster):
        try:
            yield
        except KeyboardInterrupt:
            if workers.stops(True):  # false if only this one was interrupted, by a second Ctrl-C
                workers.finish()
            raise
        workers.finish()


def make_exchange(cluster: Cluster) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function that exchanges arrays of int64, as `Workers` needs it.

    It uses the CPUs, so it does not wait for the steps that a GPU still computes.
    """
    count = len(cluster.addresses)
    functions: dict[int, Callable[[tf.Tensor], tf.Tensor]] = {}

    def function_for(size: int) -> Callable[[tf.Tensor], tf.Tensor]:
        """Traces the operation for a size. A new instance of it for each call would leak memory."""
        instance = len(functions) + 1  # equal on all workers, which see the same sizes

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([size], tf.int64)])
        def gather(row: tf.Tensor) -> tf.Tensor:
            with tf.device("CPU:0"):
                return tf.raw_ops.CollectiveGatherV2(
                    input=row,
                    group_size=count,
                    group_key=GROUP,
                    instance_key=instance,
                    ordering_token=[],
                    communication_hint="ring",
                )

        return gather

    def exchange(row: np.ndarray) -> np.ndarray:
        if len(row) not in functions:
            functions[len(row)] = function_for(len(row))
        with watching(cluster), tf.device("CPU:0"):
            return functions[len(row)](tf.constant(row)).numpy().reshape(count, -1)

    return exchange


def _lost(cluster: Cluster, error: tf.errors.OpError) -> JobError:
    """Returns an error that names the worker, if TensorFlow's does.

    If not, the cause may be in this worker, so what TensorFlow reported is part of the message.
    """
    named = {(kind, int(number)) for kind, number in TASK.findall(str(error))}
    if not named and HEARTBEAT in str(error):
        named = {cluster.tasks[0]}  # does not answer heartbeats any more
    lost = [
        cluster.name(index)
        for index, task in enumerate(cluster.tasks)
        if task in named and index != cluster.index
    ]
    if len(lost) == 1:
        who, cause = lost[0], ""
    else:
        who = f"another of the {len(cluster.addresses)} workers"
        cause = f"; TensorFlow reported: {_reason(error)}"
    return JobError(
        f"{who} was lost: see what it reported, then start all workers again, with --resume if the "
        f"run has begun{cause}"
    )


def _reason(error: tf.errors.OpError) -> str:
    """Returns the first line of a message of TensorFlow that does not name a place in a graph."""
    lines = [line.strip() for line in str(error).splitlines() if line and not PLACE.match(line)]
    return lines[0] if lines else type(error).__name__
