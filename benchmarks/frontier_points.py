"""The records of `benchmarks.frontier`, and its tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils.weights.sources import NONE

LIMITS = (1, 3, 10)  # GFLOPs, of the table that says what to choose

Spread = tuple[float, float, float]  # median, lower and upper quartile


@dataclass(frozen=True)
class Point:
    """What was measured of one detector.

    Attributes:
        backbone: Registered name of the backbone.
        yolo: Name of the YOLO version.
        weights: The initial weights; `none` for random ones.
        map50: VOC's mAP of Keras in float32 on the validation images, at an IoU of 0.5, 0..1.
        map: COCO's mAP of the same.
        int8_map50: VOC's mAP of the INT8 file on the validation images.
        int8_map: COCO's mAP of the same.
        test_map50: VOC's mAP on the test set; None if it is undefined.
        test_map: COCO's mAP on the test set.
        gflops: FLOPs per image in 1e9, as summary.py counts them.
        params: Number of parameters.
        ms: Milliseconds of the float32 network for one image.
        int8_ms: Milliseconds of the INT8 network for one image.
        int8_megabytes: Size of the INT8 file in millions of bytes.
        epochs: Epochs of the training.
        images_per_second: Speed of the training steps.
        peak_gib: Peak memory of the training process.
        precision: Numeric precision of the training.
    """

    backbone: str
    yolo: str
    weights: str
    map50: float
    map: float
    int8_map50: float
    int8_map: float
    test_map50: float | None
    test_map: float | None
    gflops: float
    params: int
    ms: Spread
    int8_ms: Spread
    int8_megabytes: float
    epochs: int
    images_per_second: float
    peak_gib: float
    precision: str

    @property
    def is_pretrained(self) -> bool:
        """Whether the initial weights were not random."""
        return self.weights != NONE


def choose(points: Sequence[Point], limit: float) -> Point | None:
    """Returns the point with the best mAP on the validation images within a limit of GFLOPs.

    Of several with the same mAP, the one with the fewest GFLOPs; None if no point is within it.
    """
    within = [point for point in points if point.gflops <= limit]
    return max(within, key=lambda point: (point.map, -point.gflops), default=None)


def frontier(
    points: Sequence[Point], cost: Callable[[Point], float], score: Callable[[Point], float]
) -> list[Point]:
    """Returns the points that score better than all that cost as little or less, cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (cost(point), -score(point))):
        if not best or score(point) > score(best[-1]):
            best.append(point)
    return best


def choices_table(points: Sequence[Point]) -> list[dict[str, object]]:
    """Returns the rows of the table that says what to choose, one per limit."""
    rows = []
    for limit in LIMITS:
        cells: dict[str, object] = dict.fromkeys(_choice_cells(points[0]), "-")
        if chosen := choose(points, limit):
            cells = _choice_cells(chosen)
        rows.append({"at most": f"{limit} GFLOPs", **cells})
    return rows


def _choice_cells(point: Point) -> dict[str, object]:
    return {
        "choose": f"`--backbone {point.backbone} --yolo {point.yolo}`",
        "initial weights": _origin(point),
        "mAP": f"{point.map:.3f}",
        "mAP on test": _score(point.test_map),
        "GFLOPs": f"{point.gflops:.2f}",
        "ms": f"{point.ms[0]:.1f}",
        "parameters, M": f"{point.params / 1e6:.2f}",
        "INT8 MB": f"{point.int8_megabytes:.2f}",
    }


def points_table(points: Sequence[Point]) -> list[dict[str, object]]:
    """Returns the rows of the table of all points, best mAP on the validation images first."""
    return [
        {
            "backbone": f"`{point.backbone}`",
            "version": point.yolo,
            "initial weights": _origin(point),
            "mAP": f"{point.map:.3f}",
            "mAP50": f"{point.map50:.3f}",
            "mAP, INT8": f"{point.int8_map:.3f}",
            "mAP on test": _score(point.test_map),
            "mAP50 on test": _score(point.test_map50),
            "GFLOPs": f"{point.gflops:.2f}",
            "parameters, M": f"{point.params / 1e6:.2f}",
            "INT8 MB": f"{point.int8_megabytes:.2f}",
            "ms (quartiles)": _milliseconds(point.ms),
            "ms, INT8 (quartiles)": _milliseconds(point.int8_ms),
            "epochs": point.epochs,
            "images/s in training": f"{point.images_per_second:.1f}",
            "peak GiB in training": f"{point.peak_gib:.2f}",
        }
        for point in sorted(points, key=lambda point: -point.map)
    ]


def _origin(point: Point) -> str:
    return "pretrained" if point.is_pretrained else "random"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _milliseconds(spread: Spread) -> str:
    return "{:.1f} ({:.1f} to {:.1f})".format(*spread)
