"""The workers that train together, as the environment variable TF_CONFIG lists them.

This is the variable that TensorFlow reads. An error in it would otherwise surface as a traceback,
or as a wait without end.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from utils.errors import UserError

EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)
KINDS = ("chief", "worker")  # in the order in which TensorFlow counts them
ADDRESS = re.compile(r"\S+:[0-9]{1,5}")


@dataclass(frozen=True)
class Cluster:
    """The workers that train together.

    Attributes:
        addresses: Host and port of each worker, in the order in which they are counted. The chief
            is the first.
        tasks: What TensorFlow calls each of them: the type and the number within the type.
        index: Number of this process among them.
    """

    addresses: tuple[str, ...]
    tasks: tuple[tuple[str, int], ...]
    index: int = 0

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run directory."""
        return self.index == 0

    def name(self, index: int) -> str:
        """Returns how messages call a worker."""
        return f"worker {index} of {len(self.addresses)} ({self.addresses[index]})"


ALONE = Cluster(("this process",), (("worker", 0),))


def read_cluster() -> Cluster:
    """Reads TF_CONFIG; without it, or with an empty one, this process is alone.

    Raises:
        UserError: The variable cannot be used.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        document = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise _wrong(f"is not JSON ({error})") from error
    if not isinstance(document, Mapping):
        raise _wrong("is not a JSON object")
    jobs = document.get("cluster") or {}
    if not jobs:
        return ALONE
    addresses = _addresses(jobs)
    task = document.get("task")
    kind = task.get("type") if isinstance(task, Mapping) else None
    if not isinstance(kind, str) or kind not in jobs:
        raise _wrong(f"has the task {task!r}, which is not in its cluster")
    index = task.get("index")
    if not isinstance(index, int) or not 0 <= index < len(jobs[kind]):
        raise _wrong(f"has {index!r} as the index of its task, not 0..{len(jobs[kind]) - 1}")
    tasks = tuple((each, number) for each in KINDS for number in range(len(jobs.get(each, ()))))
    return Cluster(addresses, tasks, tasks.index((kind, index)))


def _addresses(jobs: Any) -> tuple[str, ...]:
    if not isinstance(jobs, Mapping) or not all(isinstance(found, list) for found in jobs.values()):
        raise _wrong("has a cluster that is not an object of lists")
    if unknown := sorted(set(jobs) - set(KINDS)):
        raise _wrong(f"has tasks of the type {unknown[0]!r}, use only chief and worker")
    found = tuple(address for kind in KINDS for address in jobs.get(kind, ()))
    for address in found:
        if not isinstance(address, str) or not ADDRESS.fullmatch(address):
            raise _wrong(f"has the address {address!r}, which is not host:port")
    if len(set(found)) < len(found):
        raise _wrong("has an address twice")
    if len(jobs.get("chief", ())) > 1:
        raise _wrong("has more than one chief")
    return found


def _wrong(what: str) -> UserError:
    return UserError(f"the environment variable TF_CONFIG {what}; an example is {EXAMPLE}")
