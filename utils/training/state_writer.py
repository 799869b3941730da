"""Writes states in a thread, so that training goes on meanwhile."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np

from utils.training.checkpoint import write_state


class StateWriter:
    """Writes one state after another. At the end of a `with` block, all are written.

    Args:
        path: The file of the last state.
    """

    def __init__(self, path: Path):
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._written: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()

    def put(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Begins to write a state, as soon as the one before is written.

        Args:
            arrays: The state, from `utils.training.checkpoint.collect_state`.

        Raises:
            OSError: The state before could not be written.
        """
        self.wait()
        self._written = self._thread.submit(write_state, self._path, arrays)

    def wait(self) -> None:
        """Waits until the last state is written.

        Raises:
            OSError: It could not be written.
        """
        written, self._written = self._written, None
        if written:
            written.result()
