"""Results of a validation that several workers share out, as bytes for the exchange."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from utils.inference.detections import Detections


@dataclass(frozen=True, eq=False)
class PassResult:
    """What a pass over some images found.

    Attributes:
        found: The detections of each image.
        sums: Sums of the loss terms over the images, by name; empty if there was no image.
        positives: Number of predictions that were assigned to an object.
    """

    found: list[Detections]
    sums: dict[str, float]
    positives: float


def to_bytes(result: PassResult) -> bytes:
    """Packs a result. Its detections must not have track ids."""
    found = result.found
    file = io.BytesIO()
    np.savez(
        file,
        counts=np.array([len(each) for each in found], np.int64),
        at_limit=np.array([each.at_limit for each in found], bool),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *(each.boxes for each in found)]),
        scores=np.concatenate([np.zeros(0, np.float32), *(each.scores for each in found)]),
        labels=np.concatenate([np.zeros(0, np.int32), *(each.labels for each in found)]),
        terms=np.array(list(result.sums), str),
        sums=np.array([*result.sums.values(), result.positives], np.float64),
    )
    return file.getvalue()


def from_bytes(data: bytes) -> PassResult:
    """Unpacks what `to_bytes` packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        of_all = [arrays[name] for name in ("boxes", "scores", "labels")]
        ends = np.cumsum(arrays["counts"])
        found = [
            Detections(*(each[end - count : end] for each in of_all), at_limit=bool(at_limit))
            for count, end, at_limit in zip(arrays["counts"], ends, arrays["at_limit"], strict=True)
        ]
        *sums, positives = arrays["sums"].tolist()
        return PassResult(found, dict(zip(arrays["terms"].tolist(), sums, strict=True)), positives)


def joined(results: Sequence[PassResult]) -> PassResult:
    """Joins the results of the workers, in their order."""
    sums: dict[str, float] = {}
    for result in results:
        add(sums, result.sums)
    found = [each for result in results for each in result.found]
    return PassResult(found, sums, sum(result.positives for result in results))


def add(sums: dict[str, float], more: Mapping[str, float]) -> None:
    """Adds values to sums by name."""
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value
