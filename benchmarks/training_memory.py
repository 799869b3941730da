"""How much memory training holds, and whether it grows: `python -m benchmarks.training_memory`.

A run by the default recipe as train.py makes it, but from random weights: in whole epochs, the
backbone frozen and then trained, smaller images for the first half, augmented batches, a state for
resuming every minute, and validations. The resident set of the process is read every few steps from
Linux' /proc. Growth counts from the end of the third quarter, when each step was traced for each
size and, unless an epoch is longer than that, mAP was measured.
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

VALIDATED = 64  # images at most: their number costs time, not memory
PAGES_A_MIB = 2**20 / resource.getpagesize()


def main(args: argparse.Namespace) -> None:
    """Trains, and prints the memory over the steps."""
    cli.import_tensorflow()
    import keras

    from nets.detector import Detector
    from nets.versions import VERSIONS
    from utils.data.annotation import find_classes, read_samples
    from utils.data.dataset import BatchStream, boxes_needed
    from utils.data.imagesets import resolve_splits
    from utils.precision import use_precision
    from utils.training.callbacks import Curves, Validation
    from utils.training.recipes import RECIPES
    from utils.training.schedule import image_size, is_frozen
    from utils.training.trainer import Trainer

    rows: list[dict[str, object]] = []
    started = time.monotonic()

    def take_down(step: int) -> None:
        share = step / (recipe.epochs * stream.steps_per_epoch)
        rows.append(
            {
                "step": step,
                "images": "x".join(map(str, image_size(recipe, share, size))),
                "backbone": "frozen" if is_frozen(recipe, share) else "trained",
                "minutes": round((time.monotonic() - started) / 60, 1),
                "resident MiB": round(resident_mib()),
                "peak GiB": round(peak_gib(resource.getrusage(resource.RUSAGE_SELF)), 2),
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
    preset = RECIPES["default"]
    recipe = dataclasses.replace(preset.recipe, batch_size=args.batch_size)
    use_precision(recipe.precision)
    needed = boxes_needed(train, recipe.augmentation)
    stream = WatchedStream(train, size, args.batch_size, needed, recipe.augmentation, 0)
    recipe = dataclasses.replace(recipe, epochs=-(-args.steps // stream.steps_per_epoch))
    version = preset.adapt(VERSIONS[args.yolo])
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
    settled = next(row for row in rows if row["step"] >= 3 * trainer.step / 4)
    growth = rows[-1]["resident MiB"] - settled["resident MiB"]
    title = (
        f"{args.backbone} {args.yolo} at {size[0]}x{size[1]}, batch {args.batch_size}, "
        f"{args.data}: peak {rows[-1]['peak GiB']} GiB, growth {growth} MiB from step "
        f"{settled['step']} to the end"
    )
    report(title, rows, args.out)


def resident_mib() -> float:
    """Memory of this process that is in RAM now, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) / PAGES_A_MIB


def build_parser() -> cli.Parser:
    """The flags."""
    parser = training_parser(__doc__)
    add = parser.add_argument
    add("--steps", type=cli.positive, default=2000, help="at least so many, default %(default)s")
    add("--every", type=cli.positive, default=100, help="steps a row, default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
