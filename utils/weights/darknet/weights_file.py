"""Darknet's .weights files: a header, then floats, convolution after convolution."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from utils.errors import UserError

# parser.c: major, minor and revision, then how many images were seen, in 8 bytes since version 0.2.
VERSION = (0, 2, 5)
LONG_SINCE = 2  # 10 * major + minor

# A convolution's tensors by name, in the file's order and torch's layout.
Tensors = dict[str, np.ndarray]


def shapes_of(filters: int, inputs: int, size: int, normalized: bool) -> dict[str, tuple[int, ...]]:
    """What the file holds of a convolution, in order (parser.c: load_convolutional_weights)."""
    shapes = {"biases": (filters,)}
    if normalized:
        shapes |= dict.fromkeys(("scales", "means", "variances"), (filters,))
    return shapes | {"weights": (filters, inputs, size, size)}


def keys_of(convolution: str, normalization: str = "") -> dict[str, str]:
    """Which of our weights each of its tensors is, in the file's order.

    Args:
        convolution: name of our layer.
        normalization: of that behind it, empty where there is none.
    """
    if not normalization:
        return {"biases": f"{convolution}/1", "weights": f"{convolution}/0"}
    places = {"biases": 1, "scales": 0, "means": 2, "variances": 3}  # gamma first in Keras
    keys = {name: f"{normalization}/{place}" for name, place in places.items()}
    return keys | {"weights": f"{convolution}/0"}


class WeightsFile:
    """A file that is read convolution by convolution.

    Args:
        path: of the file.

    Raises:
        UserError: it is missing or too short for its header.
    """

    def __init__(self, path: Path):
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"no weights file {path}, name one that exists") from error
        self._path = path
        versions = np.frombuffer(data[:12].ljust(12, b"\xff"), "<i4")
        if not all(0 <= number < 1000 for number in versions):
            raise UserError(f"{path} does not begin as Darknet's weights do, name another file")
        start = 12 + (8 if 10 * versions[0] + versions[1] >= LONG_SINCE else 4)
        self._values = np.frombuffer(data[start : start + (len(data) - start) // 4 * 4], "<f4")
        self._next = 0
        self._bytes_over = (len(data) - start) % 4

    def take(self, shapes: dict[str, tuple[int, ...]], layer: str) -> Tensors:
        """The next tensors.

        Raises:
            UserError: the file ends before; `layer` says where.
        """
        tensors = {}
        for name, shape in shapes.items():
            end = self._next + int(np.prod(shape))
            if end > len(self._values):
                raise UserError(
                    f"{self._path} ends within the {name} of {layer}: it is cut short or of "
                    "another network"
                )
            tensors[name] = self._values[self._next : end].reshape(shape)
            self._next = end
        return tensors

    def finish(self) -> None:
        """Makes sure that nothing is left.

        Raises:
            UserError: the file goes on.
        """
        left = 4 * (len(self._values) - self._next) + self._bytes_over
        if left:
            raise UserError(
                f"{self._path} has {left} bytes too many: it is damaged or of another network"
            )


def write_weights(path: Path, convolutions: Iterable[Tensors]) -> None:
    """Writes convolutions in the order of their .cfg."""
    with path.open("wb") as file:
        file.write(np.array(VERSION, "<i4").tobytes() + np.array(0, "<i8").tobytes())
        for tensors in convolutions:
            for values in tensors.values():
                file.write(np.ascontiguousarray(values, "<f4").tobytes())
