"""Exports a run to SavedModel, ONNX, LiteRT or OpenVINO."""

import argparse
from pathlib import Path

from utils import cli
from utils.errors import UserError
from utils.export.formats import FORMATS, PRECISIONS, QUANTIZED, ExportSettings
from utils.files import refuse_existing
from utils.inference.thresholds import Thresholds

DYNAMIC = "dynamic"


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
    return parser


def main(args: argparse.Namespace) -> None:
    """Exports the run and prints the path of the result."""
    batch = args.batch or (DYNAMIC if FORMATS[args.format].free_batch else 1)
    settings = ExportSettings(
        args.format, args.precision, None if batch == DYNAMIC else batch, args.nms
    )
    if settings.precision in QUANTIZED:
        raise UserError(f"--precision {settings.precision} is not supported yet, use float32")
    if args.out:
        refuse_existing(args.out)

    cli.import_tensorflow()
    from utils.export.job import describe, export_float
    from utils.run import load_run, newest_run

    run = load_run(args.run or newest_run())
    path = args.out or run.path / "export" / settings.file_name
    metadata = describe(run, settings, Thresholds(args.conf, args.iou, args.max_boxes))
    export_float(run, settings, metadata, path)
    if args.format == "onnx":
        from utils.export.triton import write_config

        write_config(path, metadata)
    print(path)


def _batch(text: str) -> int | str:
    return DYNAMIC if text == DYNAMIC else cli.at_most(cli.MAX_BATCH)(text)


if __name__ == "__main__":
    cli.run(main, build_parser())
