"""Finds where the time of a training step goes: `python -m benchmarks.training_profile`.

Records training steps with TensorFlow's profiler and assigns each operation to a kind of work. In
the same rounds, measures what limits each kind: the network's own convolutions alone, and for other
work the bytes that it must read and write over the memory bandwidth. Also measures matrix products
in float32 and bfloat16. The batch is in memory and the whole network is trained.
"""

import argparse
from statistics import median

from benchmarks.profile_limits import MATRIX, PRODUCTS, bandwidth, find_limits
from benchmarks.profile_tables import Profile, kind_rows, part_rows, type_rows
from benchmarks.profile_trace import StepTrace, record
from benchmarks.timing import interleaved, markdown_table, report
from benchmarks.training_flags import training_parser
from benchmarks.training_setup import set_up
from utils import cli
from utils.precision import find_precision

MOSAIC = 0.3  # probability, as in the default recipe
WARM_UP = 2  # untimed steps after the first one
STEP, RECORDED = "step", "recorded"


def main(args: argparse.Namespace) -> None:
    """Records and measures in turn, and prints the medians over steps and rounds."""
    cli.import_tensorflow()
    from summary import count_flops

    setup = set_up(args, MOSAIC)
    detector = setup.detector
    batch = setup.stream.batch(0, mosaic=True)
    train_step = setup.trainer.make_step()

    def step() -> None:
        train_step(*batch)["box"].numpy()

    limits = find_limits(detector, args.batch_size)
    traces: list[StepTrace] = []

    def steps() -> None:
        for _ in range(args.steps):
            step()

    functions = {
        STEP: steps,
        RECORDED: lambda: traces.extend(record(step, args.steps)),
        **limits.functions,
    }
    for _ in range(1 + WARM_UP):
        step()
    measured = interleaved(functions, args.rounds, warm_up=1)
    traces = traces[args.steps :]
    seconds = median(measured[STEP]) / args.steps

    forward = count_flops(detector.layers)
    products = " and ".join(
        f"{2 * MATRIX**3 / median(measured[name]) / 1e9:.0f} in {dtype}"
        for dtype, name in PRODUCTS.items()
    )
    recorded = median(trace.seconds for trace in traces)
    title = (
        f"{args.backbone} {args.yolo} at {setup.size[0]}x{setup.size[1]}, "
        f"{find_precision(args.precision)}, batch {args.batch_size}, {args.data}: "
        f"{1e3 * seconds:.0f} ms per step, {1e3 * recorded:.0f} ms while it is recorded, "
        f"{args.batch_size / seconds:.1f} images/s, "
        f"{3 * args.batch_size * forward / seconds / 1e9:.0f} GFLOP/s; "
        f"products of {MATRIX}x{MATRIX} matrices: {products} GFLOP/s; "
        f"memory: {bandwidth(measured) / 1e9:.1f} GB/s; "
        f"{args.rounds} rounds of {args.steps} recorded steps"
    )
    profile = Profile.of(traces, detector)
    report(title, kind_rows(profile, limits, measured), args.out)
    for rows in (part_rows(profile), type_rows(profile)[: args.types]):
        print("", markdown_table(rows), sep="\n")


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = training_parser(__doc__)
    add = parser.add_argument
    add("--rounds", type=cli.positive, default=5, help="default %(default)s")
    add("--steps", type=cli.positive, default=3, help="steps per round, default %(default)s")
    add("--types", type=cli.positive, default=20, help="operations to list, default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
