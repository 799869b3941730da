"""What a YOLO version is, as data: v3 and v4 differ by a record and by nothing else."""

from dataclasses import dataclass, replace

STRIDES = (8, 16, 32)
ANCHORS_PER_LEVEL = 3


@dataclass(frozen=True)
class YoloVersion:
    """Everything that one version of YOLO does differently from another.

    Tuples of three belong to strides 8, 16 and 32, in that order.

    Attributes:
        name: `v3` or `v4`, as on the command line.
        neck: key into `nets.necks.NECKS`.
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
    neck: str
    conv: str
    activation: str
    scale_xy: tuple[float, float, float]
    match_iou: float
    ignore_iou: float
    neighbours: bool = False
    box_weight: float = 0.1
    objectness_weight: float = 1.0
    objectness_balance: tuple[float, float, float] = (4.0, 1.0, 0.4)
    class_weight: float = 4.0


VERSIONS = {
    "v3": YoloVersion(
        name="v3",
        neck="fpn",
        conv="plain",
        activation="leaky_relu",
        scale_xy=(1.0, 1.0, 1.0),
        match_iou=1.0,
        ignore_iou=0.5,
    ),
    "v4": YoloVersion(
        name="v4",
        neck="spp_panet",
        conv="separable",
        activation="relu6",
        scale_xy=(1.2, 1.1, 1.05),
        match_iou=0.213,
        ignore_iou=0.7,
    ),
}


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
    return replace(version, scale_xy=(2.0, 2.0, 2.0), match_iou=0.213, neighbours=True)
