"""Exports a run to SavedModel, ONNX, LiteRT or OpenVINO."""

import argparse
from pathlib import Path

from utils import cli
from utils.errors import UserError
from utils.export.formats import (
    CALIBRATION_IMAGES,
    FORMATS,
    MAX_LOSS,
    PRECISIONS,
    QUANTIZED,
    ExportSettings,
    QuantizationSettings,
)
from utils.files import refuse_existing
from utils.inference.thresholds import Thresholds

DYNAMIC = "dynamic"
MAX_CALIBRATION_IMAGES = 100_000  # 52 GB at 416x416; ranges hardly change after a few hundred


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", help="run directory (default: the newest in logs/)")
    add("--format", choices=FORMATS, required=True, help="format of the file")
    add(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="numeric precision (default: float32)",
    )
    add("--out", type=Path, metavar="PATH", help="file to write (default: in DIR/export)")
    add(
        "--batch",
        type=_batch,
        metavar=f"N|{DYNAMIC}",
        help="images per call (default: dynamic, for litert 1)",
    )
    add("--nms", action="store_true", help="make non-maximum suppression part of the model")
    add("--conf", type=cli.fraction, default=0.5, help="minimum score of detections (default: 0.5)")
    add("--iou", type=cli.fraction, default=0.3, help="IoU threshold of NMS (default: 0.3)")
    add(
        "--max-boxes",
        type=cli.at_most(cli.MAX_BOXES),
        default=100,
        help="maximum number of detections per image (default: 100)",
    )
    add(
        "--calibrate",
        type=cli.at_most(MAX_CALIBRATION_IMAGES),
        metavar="N",
        help=f"int8: training images to calibrate on (default: {CALIBRATION_IMAGES})",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="int8: VOCdevkit of these images (default: that of the run)",
    )
    add(
        "--max-loss",
        type=cli.fraction,
        metavar="F",
        help="int8: leave layers in float until mAP on the validation images falls by at most F; "
        f"1 for any loss, unmeasured (default: {MAX_LOSS})",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Exports the run and prints the path of the result."""
    batch = args.batch or (DYNAMIC if FORMATS[args.format].free_batch else 1)
    settings = ExportSettings(
        args.format, args.precision, None if batch == DYNAMIC else batch, args.nms
    )
    quantization = _quantization(args)
    if args.out:
        refuse_existing(args.out)

    cli.import_tensorflow()
    from utils.export.job import describe, export_float
    from utils.run import load_run, newest_run

    run = load_run(args.run or newest_run())
    path = args.out or run.path / "export" / settings.file_name
    metadata = describe(run, settings, Thresholds(args.conf, args.iou, args.max_boxes))
    if quantization:
        from utils.export.quantize import export_quantized

        export_quantized(run, settings, quantization, metadata, path)
    else:
        export_float(run, settings, metadata, path)
    print(path)


def _quantization(args: argparse.Namespace) -> QuantizationSettings | None:
    """Returns how the run is quantized; None if it is not."""
    flags = {"calibrate": args.calibrate, "data": args.data, "max-loss": args.max_loss}
    given = [f"--{name}" for name, value in flags.items() if value is not None]
    if args.precision in QUANTIZED:
        max_loss = MAX_LOSS if args.max_loss is None else args.max_loss
        return QuantizationSettings(args.calibrate or CALIBRATION_IMAGES, args.data, max_loss)
    if given:
        raise UserError(
            f"{given[0]} has no effect on --precision {args.precision}: remove it, or use "
            f"--precision {' or '.join(QUANTIZED)}"
        )
    return None


def _batch(text: str) -> int | str:
    return DYNAMIC if text == DYNAMIC else cli.at_most(cli.MAX_BATCH)(text)


if __name__ == "__main__":
    cli.run(main, build_parser())
