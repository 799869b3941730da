"""Times the step of several workers on this machine: `python -m benchmarks.workers_speed`.

All workers share the processor, so this does not show how training speeds up. It checks the model
of step time in docs/scale.md: the step of one process, plus the collective operations. Those are
timed alone as well, for the bytes of the gradients and for a few numbers.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.timing import report
from utils import cli
from utils.errors import JobError

WARM_UP = 3  # untimed calls
TIMEOUT = 3600  # seconds for all workers
# Small collective operations, counted in the graph of a step: sum, sum of squares, their gradients
# and the count of each batch normalization; the positives and the terms of the loss.
PER_NORM, PER_STEP = 5, 5
FEW = 64  # numbers of a small collective operation


def main(args: argparse.Namespace) -> None:
    """Starts workers, or is one of them if TF_CONFIG says so."""
    if "TF_CONFIG" in os.environ:
        print(json.dumps(measure(args)))
        return
    rows = []
    for count in args.workers:
        found = start(count)
        alone = rows[0]["step ms"] if rows else found["step ms"]
        many = found["collectives"] * found["small all-reduce ms"]
        twice = 2 * found["gradient all-reduce ms"]  # in the step, and in Keras' optimizer
        found["model ms"] = alone if count == 1 else alone + many + twice
        rows.append({"workers": count} | {k: round(v, 2) for k, v in found.items()})
    size = args.input_size
    report(f"{args.backbone} {args.yolo} at {size}, batch {args.batch_size}", rows, args.out)


def start(count: int) -> dict[str, float]:
    """Runs workers, and returns the mean of what they measured."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        addresses = [f"localhost:{server.getsockname()[1]}" for server in servers]
    workers = []
    for index in range(count):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        workers.append(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.workers_speed", *sys.argv[1:]],
                env=os.environ | {"TF_CONFIG": config},
                stdout=subprocess.PIPE,
            )
        )
    outputs = [worker.communicate(timeout=TIMEOUT)[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        raise JobError("a worker failed, see its error above")
    found = [json.loads(output) for output in outputs]
    return {name: statistics.mean(each[name] for each in found) for name in found[0]}


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Times the step of this worker, together with the others."""
    cli.import_tensorflow()
    import keras
    import numpy as np
    import tensorflow as tf

    from nets.detector import Detector
    from utils.config import Recipe
    from utils.training.session import set_up_devices
    from utils.training.train_step import make_train_step
    from utils.training.trained_weights import TrainedWeights

    recipe = Recipe(batch_size=args.batch_size, precision="float32", strategy="multiworker")
    devices = set_up_devices(recipe)
    strategy = devices.strategy
    size = cli.parse_size(args.input_size)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        detector = Detector(args.backbone, 20, args.yolo, size, width=args.width)
    trained = TrainedWeights(detector, recipe, strategy)
    step = make_train_step(detector, trained, recipe)
    count = len(devices.workers.rows(args.batch_size))
    images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)
    boxes = np.tile(np.float32([8, 8, 40, 50]), (count, 8, 1))
    batch = images, boxes, np.zeros((count, 8), np.int32)
    numbers = sum(int(vector.joined.shape[0]) for vector in trained.vectors)

    def reduce_of(length: int) -> Callable[[], object]:
        def add() -> tf.Tensor:
            return tf.distribute.get_replica_context().all_reduce("SUM", tf.ones(length))

        return tf.function(lambda: strategy.run(add))

    layers = detector._flatten_layers()
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
    found = {
        "step ms": milliseconds(lambda: step(*batch)["box"].numpy(), args.steps),
        "gradient all-reduce ms": milliseconds(reduce_of(numbers), args.steps),
        "small all-reduce ms": milliseconds(reduce_of(FEW), 10 * args.steps),
        "exchange ms": milliseconds(lambda: devices.workers.agree(False, 8), 10 * args.steps),
        "collectives": PER_NORM * norms + PER_STEP,
        "gradient MB": 4 * numbers / 1e6,
    }
    devices.workers.finish()
    return found


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Returns the median time of a call."""
    times = []
    for _ in range(WARM_UP + repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[WARM_UP:])


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--workers", type=cli.positive, nargs="+", default=[1, 2, 4], help="default 1 2 4")
    add("--backbone", default="mobilenetv1", help="default %(default)s")
    add("--width", type=cli.above_zero, default=1.0, help="default %(default)g")
    add("--yolo", default="v4-tiny", help="default %(default)s")
    add("--input-size", default="224", help="default %(default)s")
    add("--batch-size", type=cli.at_most(cli.MAX_BATCH), default=8, help="default %(default)s")
    add("--steps", type=cli.positive, default=20, help="timed steps, default %(default)s")
    add("--out", type=Path, help="also write the table to this JSON file")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
