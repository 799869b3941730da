"""The YOLO versions as data: each is one record, and nothing else distinguishes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nets.choices import check_choices

STRIDES = (8, 16, 32)
ANCHORS_PER_LEVEL = 3
# Pixels per side of an input. At 4096x4096, MobileNetV2 v4 makes a million predictions and takes
# 735 GFLOPs per image. At 100,000 pixels the priors alone took 22 GB.
MAX_INPUT_SIDE = 4096
# Per image. The rank of a candidate in `nets.assigner` is exact in float32 up to this many.
MAX_GROUND_TRUTHS = 800

Conv = Literal["plain", "separable"]
Anchors = tuple[tuple[tuple[float, float], ...], ...]

# From Darknet's cfg/, where they were clustered on COCO: yolov3.cfg's at 416 pixels, yolov4.cfg's
# at 512.
_V3_ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
_V4_ANCHORS = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
_V3_TINY_ANCHORS = (
    ((10, 14), (23, 27), (37, 58)),
    ((81, 82), (135, 169), (344, 319)),
)
# Not a typo: yolov4-tiny.cfg gives stride 16 the masks 1,2,3, with which its weights were trained.
_V4_TINY_ANCHORS = (
    ((23, 27), (37, 58), (81, 82)),
    ((81, 82), (135, 169), (344, 319)),
)


@dataclass(frozen=True)
class YoloVersion:
    """Everything that distinguishes one version of YOLO from another.

    Tuples have one entry per level, smallest stride first: 8, 16 and 32, or 16 and 32 in the tiny
    versions.

    Attributes:
        name: Key into `VERSIONS`, as on the command line.
        neck: Key into `nets.necks.NECKS`.
        neck_channels: Channels of each level at width 1; None for those of the backbone.
        conv: Kind of the spatial convolutions in neck and head.
        activation: `leaky_relu` (slope 0.1) or `relu6`, in neck and head.
        anchors: (levels, 3, 2) width and height in input pixels, smallest stride first.
        scale_xy: Factor by which the sigmoid of a box centre is stretched, so that the borders of
            a cell can be reached (`scale_x_y` in Darknet's yolov4.cfg).
        match_iou: Besides its best anchor, a ground truth is assigned to every anchor whose shape
            IoU with it exceeds this value (`iou_thresh` in Darknet's yolov4.cfg); 1 disables it.
        neighbours: Whether a ground truth is also assigned to the two neighbouring cells nearest
            to its centre. Needs a `scale_xy` of 2 or more, so that they can reach the centre.
        ignore_iou: An unassigned prediction does not count as a negative if its IoU with any ground
            truth exceeds this value (`ignore_thresh` in Darknet).
        box_weight: Weight of the CIoU loss of one positive.
        iou_objectness: Whether the objectness target of an assigned prediction is the IoU of its
            box with its ground truth, as in YOLO (Redmon et al. 2016, section 2) and YOLOv5. If
            not, it is 1, as in YOLOv3 and v4.
        objectness_weight: Weight of the objectness loss of a 416x416 image; the loss grows with
            the area of the input.
        objectness_balance: Weight of each level in the objectness loss.
        class_weight: Weight of the class loss of a detector with 80 classes; the loss grows with
            the number of classes.
        neck_width: Multiplier of the channels of the neck, in addition to the width of the
            backbone.
        kernel_size: Side of the spatial convolutions in neck and head.
        head_expansion: Channels of the head per channel of the neck.
        learning_rate_scale: Factor of the default learning rate of AdamW, with which narrow layers
            need larger steps (Yang et al. 2022, arXiv 2203.03466).

    Raises:
        ValueError: A field has an unknown value, or `anchors`, `scale_xy` and `objectness_balance`
            have different numbers of levels.
    """

    name: str
    neck: Literal["fpn", "spp_fpn", "spp_panet", "tiny_fpn", "residual_panet"]
    conv: Conv
    activation: Literal["leaky_relu", "relu6"]
    anchors: Anchors
    scale_xy: tuple[float, ...]
    match_iou: float
    ignore_iou: float
    neck_channels: tuple[int, ...] | None
    neighbours: bool = False
    iou_objectness: bool = False
    box_weight: float = 0.1
    objectness_weight: float = 1.0
    objectness_balance: tuple[float, ...] = (4.0, 1.0, 0.4)
    class_weight: float = 4.0
    neck_width: float = 1.0
    kernel_size: Literal[3, 5] = 3
    head_expansion: Literal[1, 2, 3, 4] = 2
    learning_rate_scale: float = 1.0

    def __post_init__(self) -> None:
        check_choices(self)
        if self.neck_width <= 0:
            raise ValueError(f"neck_width is {self.neck_width}; it must be greater than 0")
        if len(self.anchors) != len(self.scale_xy):
            raise ValueError(
                f"anchors for {len(self.anchors)} levels; {self.name} has {len(self.scale_xy)}"
            )
        if len(self.objectness_balance) != len(self.anchors):
            raise ValueError(
                f"objectness_balance for {len(self.objectness_balance)} levels; {self.name} has "
                f"{len(self.anchors)}"
            )

    @property
    def anchor_array(self) -> np.ndarray:
        """The anchors as float32 (levels, 3, 2)."""
        return np.array(self.anchors, np.float32)


_V3 = YoloVersion(
    name="v3",
    neck="fpn",
    conv="plain",
    activation="leaky_relu",
    anchors=_V3_ANCHORS,
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
    anchors=_V4_ANCHORS,
    scale_xy=(1.2, 1.1, 1.05),
    match_iou=0.213,
    ignore_iou=0.7,
)
_V3_TINY = replace(
    _V3,
    name="v3-tiny",
    neck="tiny_fpn",
    neck_channels=(128, 256),
    anchors=_V3_TINY_ANCHORS,
    scale_xy=(1.0, 1.0),
    ignore_iou=0.7,
    objectness_balance=(1.0, 0.4),
)
# Not from Darknet: one width and one block per fusion, with 5x5 depthwise convolutions, as in
# NanoDet-Plus and PicoDet (arXiv 2111.00902). The head is wide, because with Adam the logits learn
# faster the more channels they sum. docs/recipes.md compares other necks, heads and rates.
_V4_LITE = replace(
    _V4,
    name="v4-lite",
    neck="residual_panet",
    neck_channels=(96, 96, 96),
    kernel_size=5,
    head_expansion=3,
    learning_rate_scale=4.0,
)

# All but v4-lite are from the files of the same names in Darknet's cfg/: yolov3.cfg and so on.
VERSIONS = {
    "v3": _V3,
    "v3-spp": replace(_V3, name="v3-spp", neck="spp_fpn", ignore_iou=0.7),
    "v3-tiny": _V3_TINY,
    "v4": _V4,
    "v4-lite": _V4_LITE,
    "v4-tiny": replace(_V3_TINY, name="v4-tiny", anchors=_V4_TINY_ANCHORS, scale_xy=(1.05, 1.05)),
}


def strides_of(levels: Sequence) -> tuple[int, ...]:
    """Stride of each level in pixels; a pyramid of two levels lacks the finest."""
    return STRIDES[-len(levels) :]


def numbers_of(levels: Sequence) -> range:
    """Number n of each level Pn, from 3 to 5, as in the names of layers; its stride is 2**n."""
    return range(6 - len(levels), 6)


def check_input_size(size: Sequence[int]) -> None:
    """Checks that an input consists of whole cells at every level of the pyramid.

    Args:
        size: Height and width in pixels.

    Raises:
        ValueError: A side is not a positive multiple of 32, or exceeds `MAX_INPUT_SIDE`. The
            message names the nearest sides that are allowed.
    """
    coarsest = STRIDES[-1]
    for side in size:
        if side > MAX_INPUT_SIDE:
            text = "x".join(map(str, size))
            raise ValueError(
                f"input size {text}: {side} is too large, use at most {MAX_INPUT_SIDE} pixels per "
                "side"
            )
        if side < 1 or side % coarsest:
            below = max(side, 0) // coarsest * coarsest
            nearest = " or ".join(str(n) for n in (below, below + coarsest) if n)
            text = "x".join(map(str, size))
            raise ValueError(
                f"input size {text}: {side} is not a multiple of {coarsest}, use {nearest}"
            )


def with_anchors(version: YoloVersion, anchors: Sequence) -> YoloVersion:
    """Returns a version with other anchors.

    Args:
        version: Any version.
        anchors: (levels, 3, 2) width and height in input pixels, smallest stride first.

    Raises:
        ValueError: The version has another number of levels.
    """
    levels = tuple(
        tuple((float(width), float(height)) for width, height in level) for level in anchors
    )
    return replace(version, anchors=levels)


def with_conv(version: YoloVersion, conv: Conv) -> YoloVersion:
    """Returns a version with spatial convolutions of another kind.

    Args:
        version: Any version.
        conv: `plain` also selects Darknet's leaky ReLU; `separable` keeps the activation.
    """
    activation = "leaky_relu" if conv == "plain" else version.activation
    return replace(version, conv=conv, activation=activation)


def with_neighbours(version: YoloVersion) -> YoloVersion:
    """Returns a version that assigns each ground truth to three cells instead of one.

    Three times as many positives per step shorten training more than any other change. The
    published versions keep one cell, since weights that were trained with one cell must be decoded
    with their own `scale_xy`.

    Args:
        version: Any version.

    Returns:
        The version with the `scale_xy` of YOLOv5's decoder, which reaches half a cell beyond each
        side, and with the `match_iou` of Darknet's v4.
    """
    scale_xy = (2.0,) * len(version.scale_xy)
    return replace(version, scale_xy=scale_xy, match_iou=0.213, neighbours=True)


def with_iou_objectness(version: YoloVersion) -> YoloVersion:
    """Returns a version whose objectness is the IoU of the box, see `YoloVersion.iou_objectness`.

    Of several predictions of an object, the one with the best box then has the highest score.

    Args:
        version: Any version.
    """
    return replace(version, iou_objectness=True)


def as_predecessors(version: YoloVersion) -> YoloVersion:
    """Returns a version as efficientnet-yolo3-keras and mobilenet-yolov4-keras train it.

    Args:
        version: Any version.

    Returns:
        The version with one cell and one anchor per ground truth, centres within their cells, and
        the loss weights of these projects: 0.05, 5 at 416x416, and 1 with 80 classes.
    """
    return replace(
        version,
        scale_xy=(1.0,) * len(version.scale_xy),
        match_iou=1.0,
        ignore_iou=0.5,
        neighbours=False,
        iou_objectness=False,
        box_weight=0.05,
        objectness_weight=5.0,
        class_weight=1.0,
    )
