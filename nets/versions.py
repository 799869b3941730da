"""What a YOLO version is, as data: v3 and v4 differ by a record and by nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

STRIDES = (8, 16, 32)
ANCHORS_PER_LEVEL = 3


@dataclass(frozen=True)
class YoloVersion:
    """Everything that one version of YOLO does differently from another.

    Tuples have an entry a level, the smallest stride first: 8, 16 and 32, or 16 and 32 in the tiny
    versions.

    Attributes:
        name: key into `VERSIONS`, as on the command line.
        neck: key into `nets.necks.NECKS`.
        neck_channels: of each level at width 1; None leaves them to the backbone.
        conv: kind of the 3x3 convolutions in neck and head, `plain` or `separable`.
        activation: `leaky_relu` (slope 0.1) or `relu6`.
        scale_xy: stretch of the sigmoid of a box centre, so that cell borders are reachable
            (`scale_x_y` in Darknet's yolov4.cfg).
        match_iou: besides its best anchor, a ground truth is given to every anchor whose shape
            overlaps with it by more than this (`iou_thresh` in Darknet's yolov4.cfg; 1 turns it
            off).
        neighbours: whether the nearest cell beside the centre's, in either direction, answers
            for an object as well; such centres are in reach where `scale_xy` is 2 or more.
        ignore_iou: a prediction that overlaps any ground truth by more than this is no negative
            (`ignore_thresh` in Darknet).
        box_weight: weight of the CIoU loss of one positive.
        objectness_weight: weight of the objectness loss of a 416x416 image; it grows with the
            area of the input.
        objectness_balance: weight of each level in the objectness loss.
        class_weight: weight of the class loss of a detector with 80 classes; it grows with their
            number.
    """

    name: str
    neck: Literal["fpn", "spp_fpn", "spp_panet", "tiny_fpn"]
    conv: str
    activation: str
    scale_xy: tuple[float, ...]
    match_iou: float
    ignore_iou: float
    neck_channels: tuple[int, ...] | None
    neighbours: bool = False
    box_weight: float = 0.1
    objectness_weight: float = 1.0
    objectness_balance: tuple[float, ...] = (4.0, 1.0, 0.4)
    class_weight: float = 4.0


_V3 = YoloVersion(
    name="v3",
    neck="fpn",
    conv="plain",
    activation="leaky_relu",
    scale_xy=(1.0, 1.0, 1.0),
    match_iou=1.0,
    ignore_iou=0.5,
    neck_channels=None,
)
_V4 = YoloVersion(
    name="v4",
    neck="spp_panet",
    neck_channels=(128, 256, 512),
    conv="separable",
    activation="relu6",
    scale_xy=(1.2, 1.1, 1.05),
    match_iou=0.213,
    ignore_iou=0.7,
)
_V3_TINY = replace(
    _V3,
    name="v3-tiny",
    neck="tiny_fpn",
    neck_channels=(128, 256),
    scale_xy=(1.0, 1.0),
    ignore_iou=0.7,
    objectness_balance=(1.0, 0.4),
)

# From the files of the same names in Darknet's cfg/: yolov3.cfg, yolov3-spp.cfg and so on.
VERSIONS = {
    "v3": _V3,
    "v3-spp": replace(_V3, name="v3-spp", neck="spp_fpn", ignore_iou=0.7),
    "v3-tiny": _V3_TINY,
    "v4": _V4,
    "v4-tiny": replace(_V3_TINY, name="v4-tiny", scale_xy=(1.05, 1.05)),
}


def strides_of(levels: Sequence) -> tuple[int, ...]:
    """Pixels a cell of each level that there is: a pyramid of two lacks the finest."""
    return STRIDES[-len(levels) :]


def numbers_of(levels: Sequence) -> range:
    """What the levels are called in names of layers: P3 to P5, two to that power the stride."""
    return range(6 - len(levels), 6)


def with_conv(version: YoloVersion, conv: str) -> YoloVersion:
    """A version with 3x3 convolutions of a kind, plain ones with Darknet's leaky ReLU behind them.

    Args:
        version: any.
        conv: `plain` or `separable`.
    """
    activation = "leaky_relu" if conv == "plain" else version.activation
    return replace(version, conv=conv, activation=activation)


def with_neighbours(version: YoloVersion) -> YoloVersion:
    """A version whose objects are learnt by three cells each instead of one.

    Three times the positives a step is what shortens training most. Versions as they were
    published stay the default of a record, since weights that were trained with one cell are
    decoded by its `scale_xy`.

    Args:
        version: its anchors are matched as Darknet's v4 does from here on, too.

    Returns:
        The record with the stretch of YOLOv5's decoder, which reaches half a cell to each side.
    """
    scale_xy = (2.0,) * len(version.scale_xy)
    return replace(version, scale_xy=scale_xy, match_iou=0.213, neighbours=True)


def as_predecessors(version: YoloVersion) -> YoloVersion:
    """A version as efficientnet-yolo3-keras and mobilenet-yolov4-keras train it.

    Args:
        version: any.

    Returns:
        The record with one cell and one anchor an object, centres within their cells, and their
        loss weights: 0.05, 5 at 416x416, and 1 with 80 classes.
    """
    return replace(
        version,
        scale_xy=(1.0,) * len(version.scale_xy),
        match_iou=1.0,
        ignore_iou=0.5,
        neighbours=False,
        box_weight=0.05,
        objectness_weight=5.0,
        class_weight=1.0,
    )
