"""Reads and writes .weights files of Darknet: a header, then the floats of each convolution."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.regular_files import check_regular

# parser.c: major, minor and revision, then the number of images seen, in 8 bytes since version 0.2.
VERSION = (0, 2, 5)
LONG_COUNT_SINCE = 2  # 10 * major + minor

# The tensors of a convolution by name, in the order of the file and the layout of torch.
Tensors = dict[str, np.ndarray]


def shapes_of(filters: int, inputs: int, size: int, normalized: bool) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the tensors of a convolution, by name and in the order of the file.

    From load_convolutional_weights in parser.c.

    Args:
        filters: Channels of the output.
        inputs: Channels of the input.
        size: Size of the kernel.
        normalized: Whether batch normalization follows.
    """
    shapes = {"biases": (filters,)}
    if normalized:
        shapes |= dict.fromkeys(("scales", "means", "variances"), (filters,))
    return shapes | {"weights": (filters, inputs, size, size)}


def keys_of(convolution: str, normalization: str = "") -> dict[str, str]:
    """Returns the keys of our weights, by the names of Darknet's tensors in the order of the file.

    Args:
        convolution: Name of our layer.
        normalization: Name of the normalization that follows; empty if there is none.
    """
    if not normalization:
        return {"biases": f"{convolution}/1", "weights": f"{convolution}/0"}
    indices = {"biases": 1, "scales": 0, "means": 2, "variances": 3}  # gamma is first in Keras
    keys = {name: f"{normalization}/{index}" for name, index in indices.items()}
    return keys | {"weights": f"{convolution}/0"}


class WeightsFile:
    """A file that is read convolution by convolution."""

    def __init__(self, path: Path) -> None:
        """Reads a file.

        Args:
            path: The `.weights`.

        Raises:
            UserError: The file is missing, or does not begin with Darknet's header.
        """
        try:
            check_regular(path)
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"no weights file {path}, name one that exists") from error
        self._path = path
        versions = np.frombuffer(data[:12].ljust(12, b"\xff"), "<i4")
        if not all(0 <= number < 1000 for number in versions):
            raise UserError(f"{path} does not begin like Darknet's weights, name another file")
        start = 12 + (8 if 10 * versions[0] + versions[1] >= LONG_COUNT_SINCE else 4)
        self._values = np.frombuffer(data[start : start + (len(data) - start) // 4 * 4], "<f4")
        self._next = 0
        self._odd_bytes = (len(data) - start) % 4

    def take(self, shapes: dict[str, tuple[int, ...]], layer: str) -> Tensors:
        """Reads the next tensors.

        Args:
            shapes: Their shapes, by name.
            layer: Name of the layer, for error messages.

        Raises:
            UserError: The file ends before them.
        """
        tensors = {}
        for name, shape in shapes.items():
            end = self._next + int(np.prod(shape))
            if end > len(self._values):
                raise UserError(
                    f"{self._path} ends within the {name} of {layer}: it is incomplete or of "
                    "another network, get it again"
                )
            tensors[name] = self._values[self._next : end].reshape(shape)
            self._next = end
        return tensors

    def finish(self) -> None:
        """Checks that the whole file has been read.

        Raises:
            UserError: There is more.
        """
        left = 4 * (len(self._values) - self._next) + self._odd_bytes
        if left:
            raise UserError(
                f"{self._path} has {left} bytes too many: it is damaged or of another network, "
                "get it again"
            )


def write_weights(path: Path, convolutions: Iterable[Tensors]) -> None:
    """Writes a `.weights`.

    Args:
        path: The file.
        convolutions: Tensors of each convolution, in the order of the .cfg.
    """
    with path.open("wb") as file:
        file.write(np.array(VERSION, "<i4").tobytes() + np.array(0, "<i8").tobytes())
        for tensors in convolutions:
            for values in tensors.values():
                file.write(np.ascontiguousarray(values, "<f4").tobytes())
