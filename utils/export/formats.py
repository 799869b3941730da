"""What each export format can do: pure data, for the flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from utils.errors import UserError
from utils.inference.metadata import Scheme

FormatName = Literal["saved_model", "onnx", "litert", "openvino", "web"]
PRECISIONS = get_args(Scheme)
ACTIVATION_BITS = {"int8": 8, "int16x8": 16}  # of the precisions that are quantized

CALIBRATION_IMAGES = 200
MAX_LOSS = 0.02  # of mAP
ANY_LOSS = 1.0  # of mAP: nothing has to be measured


@dataclass(frozen=True)
class Format:
    """What a format can do.

    Attributes:
        suffix: End of the file name; without a dot, the result is a folder.
        precisions: Precision schemes that it has.
        free_batch: Whether the number of images per call can be left free.
        nms: Whether its standard operators can suppress boxes of several classes.
        single: Whether it takes only one image per call, and suppresses boxes by itself.
    """

    suffix: str
    precisions: tuple[Scheme, ...]
    free_batch: bool
    nms: bool
    single: bool = False


FORMATS: dict[FormatName, Format] = {
    "saved_model": Format("_saved_model", ("float32",), free_batch=True, nms=True),
    "onnx": Format(".onnx", ("float32", "float16", "int8"), free_batch=True, nms=True),
    "litert": Format(
        ".tflite", ("float32", "float16", "int8", "int16x8"), free_batch=False, nms=False
    ),
    "openvino": Format("_openvino", ("float32", "float16", "int8"), free_batch=True, nms=True),
    "web": Format("_web", ("float32", "float16", "int8"), free_batch=False, nms=False, single=True),
}


@dataclass(frozen=True)
class ExportSettings:
    """What is exported.

    Attributes:
        format: The format.
        precision: Precision scheme.
        batch: Number of images per call; None to leave it free.
        nms: Whether non-maximum suppression becomes part of the model.

    Raises:
        UserError: The format does not have one of these.
    """

    format: FormatName
    precision: Scheme = "float32"
    batch: int | None = None
    nms: bool = False

    def __post_init__(self) -> None:
        can = FORMATS[self.format]
        if self.precision not in can.precisions:
            raise UserError(
                f"--format {self.format} has no {self.precision}, choose "
                f"{' or '.join(can.precisions)}"
            )
        if can.single and self.batch != 1:
            raise UserError(f"--format {self.format} takes one image per call, remove --batch")
        if can.single and self.nms:
            raise UserError(
                f"--format {self.format} suppresses boxes in the page, remove --nms; --conf and "
                "--iou are kept"
            )
        if self.batch is None and not can.free_batch:
            raise UserError(f"--format {self.format} needs a fixed --batch, use 1 for example")
        if self.nms and not can.nms:
            others = " or ".join(name for name, each in FORMATS.items() if each.nms)
            raise UserError(
                f"the standard operators of --format {self.format} cannot suppress boxes of "
                f"several classes, remove --nms or use {others}"
            )

    @property
    def file_name(self) -> str:
        """Name of the file or folder in the export folder of a run."""
        parts = [f"detector-{self.precision}"]
        if self.nms:
            parts.append("nms")
        default = None if FORMATS[self.format].free_batch else 1
        if self.batch != default:
            parts.append(f"batch{self.batch}")
        return "-".join(parts) + FORMATS[self.format].suffix

    def check_name(self, path: Path) -> None:
        """Checks the name of an output, by which the format of a model is known.

        Raises:
            UserError: It would be taken for another format.
        """
        suffix = FORMATS[self.format].suffix
        if suffix.startswith("."):
            if path.suffix != suffix:
                raise UserError(f"--out {path} must end in {suffix} with --format {self.format}")
        elif path.suffix in {each.suffix for each in FORMATS.values()}:
            raise UserError(
                f"--out {path} is a folder with --format {self.format}: remove {path.suffix}"
            )


@dataclass(frozen=True)
class QuantizationSettings:
    """How a run is quantized.

    Attributes:
        images: Number of calibration images.
        data: A VOCdevkit; None for that of the run.
        max_loss: Maximum loss of mAP on the validation images, 0..1; with 1 it is not measured.
    """

    images: int = CALIBRATION_IMAGES
    data: Path | None = None
    max_loss: float = MAX_LOSS
