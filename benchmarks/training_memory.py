"""How much memory training holds, and whether it grows: `python -m benchmarks.training_memory`.

A run from random weights as train.py makes it, in whole epochs: the backbone frozen and then
trained, augmented batches, a state for resuming every minute, and validations. The resident set of
the process is read every few steps from Linux' /proc. Growth counts from the end of the first
quarter, when both phases were traced and, unless an epoch is longer than that, mAP was measured.
"""

import argparse
import dataclasses
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import report
from benchmarks.training_flags import training_parser
from utils import cli

VALIDATIONS = 10
VALIDATED = 64  # images at most: their number costs time, not memory
PAGES_A_MIB = 2**20 / resource.getpagesize()
MIB_A_GIB = KIB_A_MIB = 2**10  # on Linux ru_maxrss is in KiB


def main(args: argparse.Namespace) -> None:
    """Trains, and prints the memory over the steps."""
    cli.import_tensorflow()
    import keras

    from nets.detector import Detector
    from nets.versions import VERSIONS, with_neighbours
    from utils.annotation import find_classes, read_samples
    from utils.callbacks import Curves, Validation
    from utils.config import Recipe
    from utils.dataset import BatchStream, boxes_needed
    from utils.imagesets import resolve_splits
    from utils.precision import use_precision
    from utils.schedule import is_frozen
    from utils.trainer import Trainer

    rows: list[dict[str, object]] = []
    started = time.monotonic()

    def take_down(step: int) -> None:
        share = step / (recipe.epochs * stream.steps_per_epoch)
        rows.append(
            {
                "step": step,
                "backbone": "frozen" if is_frozen(recipe, share) else "trained",
                "minutes": round((time.monotonic() - started) / 60, 1),
                "resident MiB": round(resident_mib()),
                "peak GiB": round(peak_mib() / MIB_A_GIB, 2),
            }
        )

    class WatchedStream(BatchStream):
        """Takes the memory down when a step asks for its batch."""

        def stream(self, *start) -> Iterator[tuple]:
            for batch in super().stream(*start):
                if batch[0] % args.every == 0:
                    take_down(batch[0])
                yield batch

    size = cli.parse_size(args.input_size)
    train_refs, val_refs, _ = resolve_splits(args.data)
    classes = find_classes(train_refs)
    (train, _), (val, _) = (read_samples(refs, classes) for refs in (train_refs, val_refs))
    recipe = Recipe(batch_size=args.batch_size, validations=VALIDATIONS)
    use_precision(recipe.precision)
    needed = boxes_needed(train, recipe.augmentation)
    stream = WatchedStream(train, size, args.batch_size, needed, recipe.augmentation, 0)
    recipe = dataclasses.replace(recipe, epochs=-(-args.steps // stream.steps_per_epoch))
    version = with_neighbours(VERSIONS[args.yolo])
    detector = Detector(args.backbone, len(classes), version=version, input_size=size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        trainer = Trainer(detector, recipe, stream, path / "last.npz")
        trainer.run(
            [
                Validation(trainer, val[:VALIDATED], classes, path / "best.weights.h5"),
                Curves(trainer, path),
                keras.callbacks.TensorBoard(path, write_graph=False),
            ]
        )
    take_down(trainer.step)
    quarter = next(row for row in rows if row["step"] >= trainer.step / 4)
    growth = rows[-1]["resident MiB"] - quarter["resident MiB"]
    title = (
        f"{args.backbone} {args.yolo} at {size[0]}x{size[1]}, batch {args.batch_size}, "
        f"{args.data}: peak {rows[-1]['peak GiB']} GiB, growth {growth} MiB from step "
        f"{quarter['step']} to the end"
    )
    report(title, rows, args.out)


def resident_mib() -> float:
    """Memory of this process that is in RAM now, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) / PAGES_A_MIB


def peak_mib() -> float:
    """The most that was in RAM since the process began, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_A_MIB


def build_parser() -> cli.Parser:
    """The flags."""
    parser = training_parser(__doc__)
    add = parser.add_argument
    add("--steps", type=cli.positive, default=2000, help="at least so many, default %(default)s")
    add("--every", type=cli.positive, default=100, help="steps a row, default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
