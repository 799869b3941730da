"""What every runtime of exported models provides."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from nets.versions import strides_of
from utils.errors import UserError
from utils.inference.metadata import REMEDY, Metadata

RuntimePrecision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class RuntimeSettings:
    """How a runtime uses the machine.

    Attributes:
        batch_size: Images per call, if the model leaves it free.
        threads: Number of threads; None for one per physical core.
        precision: Precision in which float layers are computed; `auto` for the fastest one of the
            processor. Only OpenVINO offers a choice.
    """

    batch_size: int = 1
    threads: int | None = None
    precision: RuntimePrecision = "auto"


class Session(Protocol):
    """A model that a runtime has loaded.

    Attributes:
        images: (B, H, W, 3) float32, the input of the next run; the runtime reads this array.
        description: Runtime, its version and its settings, in words.
    """

    images: np.ndarray
    description: str

    def run(self) -> Mapping[str, np.ndarray]:
        """Runs the model on `images`.

        Returns:
            The outputs by name; the arrays are valid until the next run.

        Raises:
            UserError: The runtime fails, see `failures`.
        """
        ...


@contextlib.contextmanager
def failures(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Reports errors of a runtime inside a `with` block as those of a model.

    A damaged model can be loaded, and fail when it is run.

    Args:
        path: The model.
        *errors: The errors that the runtime raises.

    Raises:
        UserError: One of them was raised.
    """
    try:
        yield
    except errors as error:
        raise UserError(f"{path} cannot be run, {REMEDY}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Returns the last line of a message of a runtime; OpenVINO has places in its source before."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def check_shapes(
    path: Path, metadata: Metadata, shapes: Mapping[str, tuple[int | None, ...]]
) -> None:
    """Checks that a model has the input and the outputs that its metadata states.

    Args:
        path: The model.
        metadata: Its metadata.
        shapes: Shape of each input and output by name; None or a negative number for a free
            dimension.

    Raises:
        UserError: The model contradicts the metadata.
    """
    for name, expected in expected_shapes(metadata).items():
        if name not in shapes:
            raise UserError(f"{path} has no input or output named {name}, export the run again")
        found = shapes[name]
        fits = len(found) == len(expected) and all(
            theirs is None or theirs < 0 or ours == theirs or (ours is None and name != "images")
            for ours, theirs in zip(expected, found, strict=True)
        )
        if not fits:
            raise UserError(
                f"{path} contradicts its metadata: {name} has shape {list(found)} and should have "
                f"{list(expected)}, export the run again"
            )


def expected_shapes(metadata: Metadata) -> dict[str, tuple[int | None, ...]]:
    """Returns the shapes of the input and the outputs of a model; None for a free dimension."""
    batch, classes = metadata.batch, len(metadata.classes)
    images = {"images": (batch, *metadata.input_size, 3)}
    if metadata.nms:
        most = metadata.thresholds.max_boxes
        return images | {
            "boxes": (batch, most, 4),
            "scores": (batch, most),
            "labels": (batch, most),
            "counts": (batch,),
        }
    predictions = count_predictions(metadata)
    return images | {"boxes": (batch, predictions, 4), "scores": (batch, predictions, classes)}


def expected_dtype(name: str) -> np.dtype:
    """Returns the type of an input or output: int32 for `labels` and `counts`, else float32."""
    return np.dtype(np.int32 if name in ("labels", "counts") else np.float32)


def count_predictions(metadata: Metadata) -> int:
    """Returns the number of predictions P per image."""
    height, width = metadata.input_size
    return sum(
        (height // stride) * (width // stride) * len(level)
        for stride, level in zip(strides_of(metadata.anchors), metadata.anchors, strict=True)
    )
