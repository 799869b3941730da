"""The devices and processes that train together."""

from dataclasses import dataclass, field

import tensorflow as tf

from utils.config import Strategy
from utils.training.cluster import ALONE, Cluster, read_cluster
from utils.training.collectives import connect, make_exchange
from utils.training.workers import Workers


@dataclass(frozen=True, eq=False)
class Devices:
    """The devices that train together, and the processes that they belong to.

    Attributes:
        strategy: Distribution strategy over all devices.
        workers: The processes.
    """

    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)
    workers: Workers = field(default_factory=Workers)


def find_devices(strategy: Strategy) -> Devices:
    """Finds the devices of a strategy; with `multiworker`, waits for the other workers.

    Without TF_CONFIG, `multiworker` uses the devices of this machine, so that a run that was begun
    on several machines can be resumed on one.

    Raises:
        JobError: A worker does not join, or is lost.
        UserError: TF_CONFIG cannot be used, or the workers have different numbers of devices.
    """
    if strategy == "single":
        return Devices()
    if strategy == "mirrored":
        return Devices(tf.distribute.MirroredStrategy())
    cluster = read_cluster()
    if cluster is ALONE:
        return Devices(tf.distribute.MultiWorkerMirroredStrategy())
    devices = Devices(connect(cluster), Workers(cluster, make_exchange(cluster)))
    devices.workers.require_same({"devices": len(devices.strategy.extended.worker_devices)})
    return devices


def cluster_of(strategy: Strategy) -> Cluster:
    """Returns the workers that train together; only `multiworker` has more than one.

    Raises:
        UserError: TF_CONFIG cannot be used.
    """
    return read_cluster() if strategy == "multiworker" else ALONE


def is_chief(strategy: Strategy) -> bool:
    """Whether this process writes the run directory.

    Raises:
        UserError: TF_CONFIG cannot be used.
    """
    return cluster_of(strategy).is_chief
