"""Compares training with the peak of the machine: `python -m benchmarks.training_speed`.

Times these in turn: a float32 matrix product; the step on one batch in memory, with the backbone
trained and frozen; the step on batches from the data pipeline; the pipeline alone. The FLOPs of a
step are counted as three forward passes (forward, gradients of activations, gradients of weights).
Those of a frozen step are one forward pass of the backbone and three of neck and head.
"""

import argparse
import itertools
import time
from collections.abc import Callable

from benchmarks.timing import interleaved, report
from benchmarks.training_flags import training_parser
from benchmarks.training_setup import images_per_second, set_up
from utils import cli
from utils.precision import find_precision

STARTED = time.monotonic()
WARM_UP = 5  # untimed steps per block, until the batches prepared in advance are used up
MATRIX = 2048


def main(args: argparse.Namespace) -> None:
    """Times everything in turn and prints the medians over the rounds."""
    cli.import_tensorflow()
    import numpy as np
    import tensorflow as tf

    from summary import count_flops

    setup = set_up(args, args.mosaic)
    detector, trainer, size = setup.detector, setup.trainer, setup.size
    steps = {}
    batches = setup.batches()
    fixed = next(batches)[1:]
    for name, trainable in (("trained", True), ("frozen", False)):
        detector.backbone.trainable = trainable
        steps[name] = trainer.make_step()
        start = time.monotonic()
        steps[name](*fixed)["box"].numpy()
        traced = time.monotonic()
        print(
            f"first step, backbone {name}: {traced - start:.1f} s, "
            f"{traced - STARTED:.1f} s after the start"
        )

    def run(step: Callable, source: Callable[[], tuple]) -> Callable[[], float]:
        return lambda: images_per_second(step, source, args.batch_size, args.steps, WARM_UP)

    def pipeline() -> float:
        produced = itertools.islice(setup.batches(), WARM_UP + 4 * args.steps)
        for number, _ in enumerate(produced, start=1):
            if number == WARM_UP:
                start = time.perf_counter()
        return 4 * args.steps * args.batch_size / (time.perf_counter() - start)

    a, b = (tf.random.normal((MATRIX, MATRIX)) for _ in range(2))
    product = tf.function(lambda: tf.reduce_sum(a @ b))

    def matrix_product() -> float:
        seconds = interleaved({"": lambda: product().numpy()}, 8)[""]
        return 2 * MATRIX**3 / float(np.median(seconds)) / 1e9

    blocks = {
        "matrix product": matrix_product,
        "trained, batch in memory": run(steps["trained"], lambda: fixed),
        "trained, batches from the pipeline": run(steps["trained"], lambda: next(batches)[1:]),
        "frozen, batch in memory": run(steps["frozen"], lambda: fixed),
        "frozen, batches from the pipeline": run(steps["frozen"], lambda: next(batches)[1:]),
        "pipeline alone": pipeline,
    }
    found = {name: [] for name in blocks}
    for _ in range(args.rounds):
        for name, block in blocks.items():
            found[name].append(block())
    batches.close()

    whole = count_flops(detector.layers) / 1e9
    backbone = count_flops(detector.backbone.layers) / 1e9
    rate = np.array(found.pop("matrix product"))
    rows = [{"what": "matrix product", "images/s": "", "GFLOP/s": round(float(np.median(rate)))}]
    for name, speeds in found.items():
        gflops = {"trained": 3 * whole, "frozen": 3 * whole - 2 * backbone}.get(name.split(",")[0])
        reached = np.array(speeds) * gflops if gflops else None
        share = round(float(np.median(reached / rate)), 3) if gflops else ""
        memory = name.replace("batches from the pipeline", "batch in memory")
        rows.append(
            {
                "what": name,
                "images/s": f"{np.median(speeds):.1f} ({min(speeds):.1f} to {max(speeds):.1f})",
                "GFLOP/s": round(float(np.median(reached))) if gflops else "",
                "ratio to the product": share,
                "ratio to the batch in memory": round(
                    float(np.median(np.array(speeds) / found[memory])), 3
                ),
            }
        )
    rows[0] |= {"ratio to the product": 1, "ratio to the batch in memory": ""}
    title = (
        f"{args.backbone} {args.yolo} at {size[0]}x{size[1]}, {find_precision(args.precision)}, "
        f"batch {args.batch_size}, mosaic {args.mosaic}, {whole:.2f} GFLOPs per image forward, "
        f"{args.rounds} rounds of {args.steps} steps, {args.data}"
    )
    report(title, rows, args.out)


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = training_parser(__doc__)
    add = parser.add_argument
    add(
        "--mosaic",
        type=cli.fraction,
        default=0.3,
        help="probability of a mosaic, default %(default)s",
    )
    add("--rounds", type=cli.positive, default=3, help="default %(default)s")
    add("--steps", type=cli.positive, default=12, help="timed steps per block, default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
