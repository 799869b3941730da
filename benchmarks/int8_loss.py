"""Measures what INT8 costs: `python -m benchmarks.int8_loss DIR...`.

Exports each run in INT8 to each format, as export.py does by default, unless the file exists.
Scores the run and its files on the validation images and on the test set, and prints how much
mAP50 (VOC's) and mAP (COCO's) each file loses.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.timing import report
from utils import cli
from utils.errors import JobError
from utils.export.formats import FORMATS, ExportSettings
from utils.files import megabytes_of

if TYPE_CHECKING:
    from utils.export.accuracy import Accuracy
    from utils.models import Model
    from utils.run import Run

# A web page has the same file as ONNX.
INT8_FORMATS = [
    name for name, each in FORMATS.items() if "int8" in each.precisions and name != "web"
]
DIGITS = 4


def main(args: argparse.Namespace) -> None:
    """Measures one run after another and prints the table."""
    cli.import_tensorflow()
    from utils.run import load_run

    rows = [row for path in args.runs for row in rows_of(load_run(path), args.formats)]
    report("INT8: mAP50 and mAP, and what is lost", rows, args.out)


def rows_of(run: "Run", formats: list[str]) -> list[dict[str, object]]:
    """Returns a row for the run itself and one per format."""
    from utils.data.imagesets import list_images
    from utils.evaluation.settings import BATCH_SIZE, THRESHOLDS
    from utils.evaluation.testset import read_test_set
    from utils.export.accuracy import measure_accuracy
    from utils.export.run_images import find_run_images, validation_samples
    from utils.inference.engines.session import RuntimeSettings
    from utils.inference.model import load_model

    images = find_run_images(run)
    sets = {
        "val": validation_samples(images, run.classes),
        "test": read_test_set(
            list_images(images.folder, "test"), run.classes, "test", images.folder
        ),
    }

    def score(model: "Model") -> dict[str, "Accuracy"]:
        predictor = model.predictor(THRESHOLDS, BATCH_SIZE)
        return {
            name: measure_accuracy(predictor, samples, run.classes)
            for name, samples in sets.items()
        }

    reference = score(run)
    config = run.config
    shared = {"backbone": config.backbone, "YOLO": config.yolo.name, "run": run.path.name}
    rows = [{**shared, "file": "Keras", "MB": "", "layers in float": "", **_cells(reference)}]
    for name in formats:
        batch = None if FORMATS[name].free_batch else 1
        path = run.path / "export" / ExportSettings(name, "int8", batch).file_name
        if not path.exists():
            _export(run.path, name)
        model = load_model(path, RuntimeSettings(BATCH_SIZE))
        found = score(model)
        lost = {key: reference[key] - found[key] for key in sets}
        rows.append(
            {
                **shared,
                "file": name,
                "MB": f"{megabytes_of(path):.2f}",
                "layers in float": len(model.metadata.quantization.float_layers),
                **{
                    key: f"{value} ({gone})"
                    for (key, value), gone in zip(
                        _cells(found).items(), _cells(lost).values(), strict=True
                    )
                },
            }
        )
    return rows


def _cells(scores: dict[str, "Accuracy"]) -> dict[str, str]:
    return {
        f"{name} {label}": f"{value:z.{DIGITS}f}"
        for name, score in scores.items()
        for label, value in (("mAP50", score.map50), ("mAP", score.map))
    }


def _export(run: Path, kind: str) -> None:
    command = [sys.executable, "export.py", "--run", str(run), "--format", kind]
    if subprocess.run([*command, "--precision", "int8"], stdout=sys.stderr, check=False).returncode:
        raise JobError(f"{' '.join(command)} --precision int8 failed, see above")


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="DIR", help="run directories")
    add(
        "--formats",
        nargs="+",
        choices=INT8_FORMATS,
        default=INT8_FORMATS,
        help=f"default: {' '.join(INT8_FORMATS)}",
    )
    add("--out", type=Path, metavar="FILE", help="JSON file for the table")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
