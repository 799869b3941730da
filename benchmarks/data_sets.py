"""The data sets that benchmarks train on, as they are named on the command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataSet:
    """A data set and the input size that it is trained at.

    Attributes:
        name: for the table.
        data: a VOCdevkit.
        size: input size, as `--input-size` has it.
    """

    name: str
    data: Path
    size: str


def parse_set(text: str) -> DataSet:
    """The `type` of NAME=DIR@SIZE."""
    name, _, rest = text.partition("=")
    data, _, size = rest.rpartition("@")
    if not (name and data and size):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=DIR@SIZE")
    return DataSet(name, Path(data), size)
