"""A detector of another project, as far as it is understood before it is built here."""

from dataclasses import dataclass

import numpy as np

from nets.conventions import Convention
from nets.versions import YoloVersion
from utils.weights.tensorfiles import LayerTensors


@dataclass(frozen=True)
class ForeignDetector:
    """What a file turned out to hold.

    Attributes:
        backbone: registered name.
        width: its width factor.
        convention: padding, epsilon, pixel scaling and hard sigmoid.
        yolo: the version, decoded as they do.
        num_classes: number of classes.
        anchors: (levels, 3, 2) pixels, the smallest stride first.
        input_size: height and width in pixels.
        resize: how they fit an image into the input, `letterbox` or `stretch`.
        tensors: in our names.
    """

    backbone: str
    width: float
    convention: Convention
    yolo: YoloVersion
    num_classes: int
    anchors: np.ndarray
    input_size: tuple[int, int]
    resize: str
    tensors: LayerTensors
