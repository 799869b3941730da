"""The record that every reader of another project's detector returns."""

from dataclasses import dataclass

from nets.conventions import Convention
from nets.versions import YoloVersion
from utils.config import Resize
from utils.layer_tensors import LayerTensors


@dataclass(frozen=True)
class ForeignDetector:
    """A detector of another project, as read from its file; not yet built.

    Attributes:
        backbone: Registered name of the backbone.
        width: Width multiplier.
        convention: Padding, epsilon, pixel scaling and hard sigmoid of that project.
        yolo: The YOLO version, with that project's anchors and decoding.
        num_classes: Number of classes.
        input_size: Height and width in pixels.
        resize: How that project fits an image into the network's input.
        tensors: Tensors under the names of our layers.
        anchors_assumed: Whether the file does not state its anchors, so that those of `yolo` are
            the published ones.
    """

    backbone: str
    width: float
    convention: Convention
    yolo: YoloVersion
    num_classes: int
    input_size: tuple[int, int]
    resize: Resize
    tensors: LayerTensors
    anchors_assumed: bool = False
