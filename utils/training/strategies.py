"""Distribution strategies, for training on several devices or machines."""

from collections.abc import Callable

import tensorflow as tf

from utils.config import Strategy

STRATEGIES: dict[Strategy, Callable[[], tf.distribute.Strategy]] = {
    "single": tf.distribute.get_strategy,
    "mirrored": tf.distribute.MirroredStrategy,
    "multiworker": tf.distribute.MultiWorkerMirroredStrategy,
}


def is_chief(strategy: Strategy) -> bool:
    """Whether this process writes the run directory.

    With `multiworker`, only one worker writes it: the chief in the environment variable TF_CONFIG,
    or worker 0 if there is no chief in it.
    """
    if strategy != "multiworker":
        return True
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "chief" in cluster.cluster_spec().jobs:
        return cluster.task_type == "chief"
    return cluster.task_id in (None, 0)
