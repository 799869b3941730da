import pytest
import tensorflow as tf

from tests.threaded_workers import cluster_of
from utils.errors import JobError
from utils.training.collectives import watching

TASK = "/job:worker/replica:0/task:2"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (tf.errors.UnavailableError(None, None, f"from remote target {TASK}"), "worker 2 of 3"),
        (
            tf.errors.DeadlineExceededError(
                None, None, "Deadline Exceeded\n\nRPC: /tensorflow.CoordinationService/Heartbeat"
            ),
            r"worker 0 of 3 \(host0:1000\)",
        ),
        (tf.errors.CancelledError(None, None, "cancelled"), "another of the 3 workers"),
        (
            tf.errors.InternalError(None, None, f"{TASK} and {TASK.replace('2', '0')}"),
            "another of the 3 workers",
        ),
    ],
)
def test_error_names_the_lost_worker(error, name):
    raises = pytest.raises(JobError, match=rf"^{name}.* was lost: .*--resume")
    with raises as caught, watching(cluster_of(3, 1)):
        raise error
    assert "\n" not in str(caught.value)
    assert ("TensorFlow reported" in str(caught.value)) == name.startswith("another")


@pytest.mark.parametrize(
    "message",
    [
        "no memory",
        "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n"
        '  File "a.py", line 1, in a\n    b()\n\nno memory\n\t [[{{node a}}]] [Op:__inference_a_1]',
        "2 root error(s) found.\n  (0) INTERNAL: no memory\n\t [[{{node a}}]]\n  (1) INTERNAL: b",
    ],
)
def test_error_that_names_no_worker_is_reported(message):
    raises = pytest.raises(
        JobError, match=r"begun; TensorFlow reported: (\(0\) INTERNAL: )?no memory$"
    )
    with raises, watching(cluster_of(3, 1)):
        raise tf.errors.InternalError(None, None, message)


def test_other_errors_and_those_of_a_process_alone_stay_as_they_are():
    with pytest.raises(tf.errors.ResourceExhaustedError), watching(cluster_of(3, 1)):
        raise tf.errors.ResourceExhaustedError(None, None, "memory")
    with pytest.raises(tf.errors.InternalError), watching(cluster_of(1, 0)):
        raise tf.errors.InternalError(None, None, "internal")
