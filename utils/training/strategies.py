"""The devices and machines that train one detector together."""

import tensorflow as tf

STRATEGIES = {
    "single": tf.distribute.get_strategy,
    "mirrored": tf.distribute.MirroredStrategy,
    "multiworker": tf.distribute.MultiWorkerMirroredStrategy,
}


def keeps_the_run(strategy: str) -> bool:
    """Whether this process writes the run directory: of several machines only the first does.

    Args:
        strategy: one of `STRATEGIES`; machines find each other by the variable TF_CONFIG.
    """
    if strategy != "multiworker":
        return True
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "chief" in cluster.cluster_spec().jobs:
        return cluster.task_type == "chief"
    return cluster.task_id in (None, 0)
