"""Reads the files of a dataset in threads."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TypeVar

from tqdm import tqdm

from utils.data.images import DECODERS
from utils.lookahead import read_ahead

T = TypeVar("T")
Item = TypeVar("Item")


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
    with (
        closing(read_ahead(read, items, 2 * DECODERS, DECODERS, name)) as results,
        tqdm(results, description, len(items), delay=2, leave=False, disable=None) as progress,
    ):
        return list(progress)
