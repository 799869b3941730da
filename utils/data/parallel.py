"""Reads the files of a dataset in threads."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm import tqdm

from utils.data.images import DECODERS
from utils.lookahead import read_ahead

T = TypeVar("T")
Item = TypeVar("Item")

# Seconds that a thread reads on before it reports. Passing every small file between threads would
# take as long as reading it.
SLICE = 0.02


@dataclass
class _Slice:
    """Some of the items, read by one thread.

    Attributes:
        item: The item that is being read.
    """

    item: Any


def read_all(
    read: Callable[[Item], T],
    items: Sequence[Item],
    description: str,
    name: Callable[[Item], object] = str,
) -> list[T]:
    """Reads many items, with a progress bar on standard error if that takes more than 2 seconds.

    Args:
        read: Reads one item.
        items: What to read.
        description: What is done, for the progress bar.
        name: Returns the file of an item, for the error message.

    Returns:
        One result per item, in their order.

    Raises:
        JobError: The disk or network folder does not respond.
    """
    results: list[Any] = [None] * len(items)
    numbered = iter(list(enumerate(items)))  # threads share this iterator
    unread = len(items)

    def read_some(part: _Slice) -> int:
        count, end = 0, time.monotonic() + SLICE
        for index, part.item in numbered:
            results[index] = read(part.item)
            count += 1
            if time.monotonic() > end:
                break
        return count

    def slices() -> Iterator[_Slice]:
        while unread:
            yield _Slice(items[-unread])  # until the thread has its first one

    with (
        closing(
            read_ahead(read_some, slices(), 2 * DECODERS, DECODERS, lambda part: name(part.item))
        ) as counts,
        tqdm(None, description, len(items), delay=2, leave=False, disable=None) as progress,
    ):
        for count in counts:
            unread -= count
            progress.update(count)
    return results
