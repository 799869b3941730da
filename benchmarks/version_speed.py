"""Compares the training speed of YOLO versions: `python -m benchmarks.version_speed --data DIR`.

Times the steps of several versions in turn, on one batch in memory, with the backbone trained. The
first version is the reference of the ratios.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.timing import report
from benchmarks.training_flags import training_parser
from nets.versions import VERSIONS
from utils import cli
from utils.precision import find_precision, use_precision

WARM_UP = 1  # untimed steps per block, since the block before has filled the caches


def main(args: argparse.Namespace) -> None:
    """Times the steps in turn and prints the medians over the rounds."""
    cli.import_tensorflow()
    from nets.detector import Detector
    from utils.data.dataset import BatchSettings, BatchStream, boxes_needed
    from utils.data.trainset import TrainSource, read_training_samples
    from utils.run import RunDirectory
    from utils.training.progress import Progress
    from utils.training.recipes import RECIPES
    from utils.training.trainer import Trainer

    size = cli.parse_size(args.input_size)
    preset = RECIPES["default"]
    settings = {"epochs": 1, "batch_size": args.batch_size, "precision": args.precision}
    recipe = dataclasses.replace(preset.recipe, **settings)
    use_precision(recipe.precision)
    samples, classes = read_training_samples(TrainSource(args.data, size))
    needed = boxes_needed(samples, recipe.augmentation)
    batches = BatchSettings(size, args.batch_size, needed, recipe.augmentation, seed=0)
    stream = BatchStream(samples, batches)
    source = stream.stream(0, lambda step: True)
    batch = next(source)[1:]
    source.close()
    with tempfile.TemporaryDirectory() as folder:
        state = RunDirectory(Path(folder)).state
        steps: dict[str, Callable] = {}
        for name in args.yolo.split(","):
            version = preset.adapt(VERSIONS[name])
            detector = Detector(args.backbone, len(classes), version=version, input_size=size)
            progress = Progress(recipe, stream.steps_per_epoch)
            trainer = Trainer(detector, stream, progress, state, show_progress=False)
            steps[name] = trainer.make_step()
            steps[name](*batch)["box"].numpy()
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            for number in range(WARM_UP + args.steps):
                if number == WARM_UP:
                    start = time.perf_counter()
                step(*batch)["box"].numpy()
            speeds[name].append(args.steps * args.batch_size / (time.perf_counter() - start))
    rows = []
    for name, own in speeds.items():
        ratios = np.array(own) / next(iter(speeds.values()))
        rows.append(
            {
                "version": name,
                "images/s": f"{np.median(own):.1f} ({min(own):.1f} to {max(own):.1f})",
                "ratio": f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
            }
        )
    title = (
        f"{args.backbone} at {size[0]}x{size[1]}, {find_precision(args.precision)}, "
        f"batch {args.batch_size}, {args.rounds} rounds of {args.steps} steps, {args.data}"
    )
    report(title, rows, args.out)


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = training_parser(__doc__)
    parser.set_defaults(yolo="v4,v4-lite")
    add = parser.add_argument
    add("--rounds", type=cli.positive, default=7, help="default %(default)s")
    add("--steps", type=cli.positive, default=2, help="timed steps per block, default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
