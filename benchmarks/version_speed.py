"""Compares the training speed of networks: `python -m benchmarks.version_speed --data DIR`.

Times the steps of several networks in turn, on one batch in memory, with the backbone trained. The
first network is the reference of the ratios. `--backbone` and `--yolo` take several names with
commas between them; each backbone is combined with each version.
"""

import argparse
import itertools
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from benchmarks.timing import report
from benchmarks.training_flags import training_parser
from benchmarks.training_setup import images_per_second, set_up
from utils import cli
from utils.precision import find_precision

MOSAIC = 0.3
WARM_UP = 1  # untimed steps per block, since the block before has filled the caches

Network = tuple[str, str]  # backbone and version


def main(args: argparse.Namespace) -> None:
    """Times the steps in turn and prints the medians over the rounds."""
    networks = itertools.product(args.backbone.split(","), args.yolo.split(","))
    speeds = measure_speeds(args, list(networks))
    rows = []
    for (backbone, version), own in speeds.items():
        ratios = np.array(own) / next(iter(speeds.values()))
        rows.append(
            {
                "backbone": backbone,
                "version": version,
                "images/s": f"{np.median(own):.1f} ({min(own):.1f} to {max(own):.1f})",
                "ratio": f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
            }
        )
    title = (
        f"{args.input_size}, {find_precision(args.precision)}, batch {args.batch_size}, "
        f"{args.rounds} rounds of {args.steps} steps, {args.data}"
    )
    report(title, rows, args.out)


def measure_speeds(args: argparse.Namespace, networks: list[Network]) -> dict[Network, list[float]]:
    """Measures the training steps of networks in turn.

    Args:
        args: Values of the flags of `benchmarks.training_flags`, `rounds` and `steps`.
        networks: The networks.

    Returns:
        Images per second in each round.
    """
    cli.import_tensorflow()
    steps: dict[Network, Callable] = {}
    batch = None
    for backbone, version in tqdm(networks, unit="network"):
        chosen = argparse.Namespace(**vars(args) | {"backbone": backbone, "yolo": version})
        setup = set_up(chosen, MOSAIC)
        if batch is None:
            batch = setup.stream.batch(0, mosaic=True)
        step = steps[backbone, version] = setup.trainer.make_step()
        step(*batch)["box"].numpy()
    speeds: dict[Network, list[float]] = {network: [] for network in steps}
    for _ in tqdm(range(args.rounds), unit="round"):
        for network, step in steps.items():
            speeds[network].append(
                images_per_second(step, lambda: batch, args.batch_size, args.steps, WARM_UP)
            )
    return speeds


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
