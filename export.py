"""Exports a run to SavedModel, ONNX, LiteRT, OpenVINO or a web page, and checks them."""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from utils import cli
from utils.errors import UserError
from utils.export.formats import (
    ACTIVATION_BITS,
    CALIBRATION_IMAGES,
    FORMATS,
    MAX_LOSS,
    PRECISIONS,
    ExportSettings,
    QuantizationSettings,
)
from utils.files import refuse_existing
from utils.inference.thresholds import Thresholds
from utils.models import add_threshold_flags

if TYPE_CHECKING:  # --help must not wait for TensorFlow
    from utils.data.samples import Sample
    from utils.run import Run

DYNAMIC = "dynamic"
MAX_CALIBRATION_IMAGES = 100_000  # 52 GB at 416x416; ranges hardly change after a few hundred


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", help="run directory (default: the newest in logs/)")
    add("--format", choices=FORMATS, help="format of the file; required without --check")
    add(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="numeric precision (default: float32); int16x8 is slow without an accelerator",
    )
    add("--out", type=Path, metavar="PATH", help="file to write (default: in DIR/export)")
    add(
        "--batch",
        type=_batch,
        metavar=f"N|{DYNAMIC}",
        help="images per call (default: dynamic, for litert and web 1)",
    )
    add("--nms", action="store_true", help="make non-maximum suppression part of the model")
    add_threshold_flags(parser)
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
        help="int8 and --check: VOCdevkit of the images (default: that of the run)",
    )
    add(
        "--max-loss",
        type=cli.fraction,
        metavar="F",
        help="int8: leave layers in float until mAP on the validation images falls by at most F; "
        f"1 for any loss, unmeasured (default: {MAX_LOSS})",
    )
    add(
        "--check",
        action="store_true",
        help="compare the file with the run on its validation images; without --format, all files "
        "in DIR/export",
    )
    add("--json", action="store_true", help="print what --check measures as one JSON document")
    return parser


def main(args: argparse.Namespace) -> None:
    """Exports the run and prints the path of the result, or what is measured of it."""
    if args.json and not args.check:
        raise UserError("--json prints what --check measures, add --check")
    if not args.format:
        _refuse_flags_of_export(args)
    settings = _settings(args) if args.format else None
    quantization = _quantization(args)

    cli.import_tensorflow()
    from utils.run import load_run, newest_run

    run = load_run(args.run or newest_run())
    samples = _validation_samples(run, args.data) if args.check else []
    path = None
    if settings:
        from utils.export.run_export import export_run

        path = args.out or run.path / "export" / settings.file_name
        thresholds = Thresholds(args.conf, args.iou, args.max_boxes)
        export_run(run, settings, quantization, thresholds, path)
        print(path, file=sys.stderr if args.json else sys.stdout)
    if args.check:
        _check(run, path, samples, args.json)


def _refuse_flags_of_export(args: argparse.Namespace) -> None:
    if not args.check:
        raise UserError(f"no --format given, choose {', '.join(FORMATS)}, or use --check")
    shared = ("run", "data", "check", "json", "debug")
    for name in args.given:
        if name not in shared:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} needs --format: without it, --check only reads files")


def _settings(args: argparse.Namespace) -> ExportSettings:
    """Checks the flags of an export, and returns what is exported."""
    batch = args.batch or (DYNAMIC if FORMATS[args.format].free_batch else 1)
    settings = ExportSettings(
        args.format, args.precision, None if batch == DYNAMIC else batch, args.nms
    )
    if args.out:
        settings.check_name(args.out)
        refuse_existing(args.out)
    return settings


def _validation_samples(run: "Run", data: Path | None) -> list["Sample"]:
    from utils.export.run_images import find_run_images, validation_samples

    return validation_samples(find_run_images(run, data), run.classes)


def _check(run: "Run", path: Path | None, samples: list["Sample"], as_json: bool) -> None:
    """Prints what is measured of an exported model; of all of the run if `path` is None."""
    from utils.export.check import check_exports, format_checked, to_documents
    from utils.inference.model import find_exports

    rows = check_exports(run, [path] if path else find_exports(run.path / "export"), samples)
    if as_json:
        print(json.dumps(to_documents(rows), ensure_ascii=False, allow_nan=False))
    else:
        print(format_checked(rows), end="")


def _quantization(args: argparse.Namespace) -> QuantizationSettings | None:
    """Returns how the run is quantized; None if it is not."""
    flags = {"calibrate": args.calibrate, "max-loss": args.max_loss}
    if not args.check:  # which also needs data
        flags["data"] = args.data
    given = [f"--{name}" for name, value in flags.items() if value is not None]
    if args.precision in ACTIVATION_BITS:
        max_loss = MAX_LOSS if args.max_loss is None else args.max_loss
        return QuantizationSettings(args.calibrate or CALIBRATION_IMAGES, args.data, max_loss)
    if given:
        raise UserError(
            f"{given[0]} has no effect on --precision {args.precision}: remove it, or quantize "
            "with --precision int8"
        )
    return None


def _batch(text: str) -> int | str:
    return DYNAMIC if text == DYNAMIC else cli.at_most(cli.MAX_BATCH)(text)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # removes unfinished files, as Ctrl-C
    cli.run(main, build_parser())
