"""Datasets that benchmarks train on, and how command lines specify them."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataSet:
    """A dataset and the input size to train at.

    Attributes:
        name: Name in the table.
        data: The VOCdevkit.
        size: Input size, `N` or `HxW`.
    """

    name: str
    data: Path
    size: str


def parse_set(text: str) -> DataSet:
    """Parses NAME=DIR@SIZE, as the `type` of an argument."""
    name, _, rest = text.partition("=")
    data, _, size = rest.rpartition("@")
    if not (name and data and size):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=DIR@SIZE")
    return DataSet(name, Path(data), size)
