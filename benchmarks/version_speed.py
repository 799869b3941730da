"""Compares the training speed of YOLO versions: `python -m benchmarks.version_speed --data DIR`.

Times the steps of several versions in turn, on one batch in memory, with the backbone trained. The
first version is the reference of the ratios.
"""

import argparse
import contextlib
from collections.abc import Callable

import numpy as np

from benchmarks.timing import report
from benchmarks.training_flags import training_parser
from benchmarks.training_setup import images_per_second, set_up
from utils import cli
from utils.precision import find_precision

MOSAIC = 0.3
WARM_UP = 1  # untimed steps per block, since the block before has filled the caches


def main(args: argparse.Namespace) -> None:
    """Times the steps in turn and prints the medians over the rounds."""
    cli.import_tensorflow()
    steps: dict[str, Callable] = {}
    batch = None
    for name in args.yolo.split(","):
        setup = set_up(argparse.Namespace(**vars(args) | {"yolo": name}), MOSAIC)
        if batch is None:
            with contextlib.closing(setup.batches()) as batches:
                batch = next(batches)[1:]
        steps[name] = setup.trainer.make_step()
        steps[name](*batch)["box"].numpy()
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            speeds[name].append(
                images_per_second(step, lambda: batch, args.batch_size, args.steps, WARM_UP)
            )
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
        f"{args.backbone} at {args.input_size}, {find_precision(args.precision)}, "
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
