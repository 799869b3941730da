"""What an exported model says about itself.

An exported file contains one JSON document, so that any program can use the file without this
project: how images are prepared, what the outputs are, and where the weights come from. The keys
are those of the records below.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nets.choices import check_choices
from nets.versions import STRIDES, Anchors, check_input_size
from utils.config import Resize
from utils.errors import UserError
from utils.inference.thresholds import DEFAULT_THRESHOLDS, Thresholds
from utils.json_records import from_json, parse_json
from utils.version import VERSION

ENTRY = "swapyolo"  # name of the document inside a file
FORMAT = 1  # of the document
REMEDY = "export the run again"

Scheme = Literal["float32", "float16", "int8", "int16x8"]


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input.

    Attributes:
        resize: `letterbox` keeps the aspect ratio, centres the image and pads it; `stretch` fills
            the input.
        pad_value: Value of the padding in all channels.
        shrink: Interpolation if a side becomes smaller: the average of the pixels that are covered.
        grow: Interpolation otherwise.
        colours: Order of the channels.
        range: Smallest and largest pixel value.

    Raises:
        ValueError: Images would have to be prepared in another way than `Predictor` does it.
    """

    resize: Resize = "letterbox"
    pad_value: int = 128
    shrink: Literal["area"] = "area"
    grow: Literal["bicubic"] = "bicubic"
    colours: Literal["RGB"] = "RGB"
    range: tuple[int, int] = (0, 255)

    def __post_init__(self) -> None:
        check_choices(self)
        if (self.pad_value, self.range) != (128, (0, 255)):
            raise ValueError(
                f"pad_value is {self.pad_value} and range is {self.range}; this version prepares "
                "images with 128 and (0, 255)"
            )


@dataclass(frozen=True)
class Calibration:
    """The images from which the ranges of the activations were measured.

    Attributes:
        count: Number of images.
        digest: BLAKE2b of the letterboxed images, in order.
    """

    count: int
    digest: str


@dataclass(frozen=True)
class Quantization:
    """How a model was quantized.

    Attributes:
        calibration: The images that the ranges were measured on.
        float_layers: Names of the convolutions that were left in float.
    """

    calibration: Calibration
    float_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """The description of an exported model.

    Attributes:
        backbone: Registered name of the backbone.
        width: Width multiplier of the backbone.
        yolo: Name of the YOLO version.
        classes: Names of the classes, by label.
        anchors: (levels, 3, 2) width and height in input pixels, smallest stride first.
        input_size: Height and width of the input in pixels.
        weights: BLAKE2b of the weights of the run.
        batch: Number of images per call; None if it is free.
        precision: Precision scheme.
        quantization: How the model was quantized; None for float.
        nms: Whether non-maximum suppression is part of the model, with `thresholds`.
        thresholds: Thresholds of non-maximum suppression; recommended ones if `nms` is false.
        preprocessing: How an image becomes the input.
        project: Name of the project that exported the model.
        version: Version of this project.

    Raises:
        ValueError: A field has an unknown value.
    """

    backbone: str
    width: float
    yolo: str
    classes: tuple[str, ...]
    anchors: Anchors
    input_size: tuple[int, int]
    weights: str
    batch: int | None = None
    precision: Scheme = "float32"
    quantization: Quantization | None = None
    nms: bool = False
    thresholds: Thresholds = DEFAULT_THRESHOLDS
    preprocessing: Preprocessing = Preprocessing()
    project: str = "swapyolo"
    version: str = VERSION

    def __post_init__(self) -> None:
        check_choices(self)
        check_input_size(self.input_size)
        if not self.classes:
            raise ValueError("classes is empty")
        if not 1 <= len(self.anchors) <= len(STRIDES) or not all(self.anchors):
            raise ValueError(f"anchors must have one to {len(STRIDES)} levels, none of them empty")
        if min(side for level in self.anchors for pair in level for side in pair) <= 0:
            raise ValueError("anchors must be greater than 0")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch is {self.batch}, it must be at least 1")


def to_text(metadata: Metadata) -> str:
    """Returns the document of a model."""
    return json.dumps({"format": FORMAT, **dataclasses.asdict(metadata)}, ensure_ascii=False)


def from_text(text: Any, path: Path) -> Metadata:
    """Reads the document of a model.

    Args:
        text: The document; None if the file has none.
        path: The file, for error messages.

    Raises:
        UserError: There is no document, it is damaged, or it is of a later format.
    """
    if text is None:
        raise UserError(
            f"{path} has no {ENTRY} metadata, so its classes and its input are unknown: "
            "use a file of export.py"
        )
    document = parse_json(text, f"{path}: {ENTRY}", REMEDY)
    if (found := document.pop("format", None)) != FORMAT:
        raise UserError(
            f"{path} has metadata of format {found!r}, this version of the project reads {FORMAT}: "
            "use the version that wrote the file"
        )
    return from_json(Metadata, document, f"{path}: {ENTRY}")
