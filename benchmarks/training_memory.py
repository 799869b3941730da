"""Measures the memory of training and its growth: `python -m benchmarks.training_memory`.

Trains the default recipe like train.py, but from random weights: whole epochs, a frozen phase,
smaller images in the first half, augmented batches, saved states and validations. Reads the
resident memory of the process from Linux' /proc every few steps. Growth is measured over the last
quarter. By then, all steps have been traced for all sizes, and mAP has been measured unless an
epoch is longer than the first three quarters.
"""

import argparse
import dataclasses
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import peak_gib, report
from benchmarks.training_flags import training_parser
from utils import cli

MAX_VALIDATED = 64  # images; more of them take more time but not more memory
PAGES_PER_MIB = 2**20 / resource.getpagesize()


def main(args: argparse.Namespace) -> None:
    """Trains a detector and prints the memory over the steps."""
    cli.import_tensorflow()
    import keras

    from nets.detector import Detector
    from nets.versions import VERSIONS
    from utils.data.annotation import read_samples
    from utils.data.classes import find_classes
    from utils.data.dataset import BatchSettings, BatchStream, boxes_needed
    from utils.data.splits import resolve_splits
    from utils.precision import find_precision, use_precision
    from utils.run import RunDirectory
    from utils.training.callbacks import Curves
    from utils.training.progress import Progress
    from utils.training.recipes import RECIPES
    from utils.training.schedule import is_frozen, training_size
    from utils.training.trainer import Trainer
    from utils.training.validation import Validation

    rows: list[dict[str, object]] = []
    started = time.monotonic()

    def record(step: int) -> None:
        share = step / (recipe.epochs * stream.steps_per_epoch)
        rows.append(
            {
                "step": step,
                "images": "x".join(map(str, training_size(recipe, share, size))),
                "backbone": "frozen" if is_frozen(recipe, share) else "trained",
                "minutes": round((time.monotonic() - started) / 60, 1),
                "resident MiB": round(resident_mib()),
                "peak GiB": round(peak_gib(resource.getrusage(resource.RUSAGE_SELF)), 2),
            }
        )

    class WatchedStream(BatchStream):
        """Records the memory when a batch is requested."""

        def padded(self, *arguments) -> Iterator[tuple]:
            for batch in super().padded(*arguments):
                if batch[0] % args.every == 0:
                    record(batch[0])
                yield batch

    size = cli.parse_size(args.input_size)
    split = resolve_splits(args.data)
    classes = find_classes(split.train)
    (train, _), (val, _) = (read_samples(refs, classes) for refs in (split.train, split.val))
    preset = RECIPES["default"]
    recipe = dataclasses.replace(
        preset.recipe, batch_size=args.batch_size, precision=args.precision
    )
    use_precision(recipe.precision)
    needed = boxes_needed(train, recipe.augmentation)
    settings = BatchSettings(size, args.batch_size, needed, recipe.augmentation, seed=0)
    stream = WatchedStream(train, settings)
    recipe = dataclasses.replace(recipe, epochs=-(-args.steps // stream.steps_per_epoch))
    version = preset.adapt(VERSIONS[args.yolo])
    detector = Detector(args.backbone, len(classes), version=version, input_size=size)
    progress = Progress(recipe, stream.steps_per_epoch)
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder))
        trainer = Trainer(detector, stream, progress, directory.state)
        trainer.run(
            [
                Validation(trainer, val[:MAX_VALIDATED], classes, directory),
                Curves(progress, directory),
                keras.callbacks.TensorBoard(folder, write_graph=False),
            ]
        )
    record(progress.step)
    settled = next(row for row in rows if row["step"] >= 3 * progress.step / 4)
    growth = rows[-1]["resident MiB"] - settled["resident MiB"]
    title = (
        f"{args.backbone} {args.yolo} at {size[0]}x{size[1]}, batch {args.batch_size}, "
        f"{find_precision(args.precision)}, {args.data}: peak {rows[-1]['peak GiB']} GiB, "
        f"growth {growth} MiB from step {settled['step']} to the end"
    )
    report(title, rows, args.out)


def resident_mib() -> float:
    """Resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) / PAGES_PER_MIB


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = training_parser(__doc__)
    add = parser.add_argument
    add(
        "--steps",
        type=cli.positive,
        default=2000,
        help="minimum number of steps, default %(default)s",
    )
    add("--every", type=cli.positive, default=100, help="steps per row, default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
