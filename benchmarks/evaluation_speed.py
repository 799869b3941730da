"""How long an evaluation takes: `python -m benchmarks.evaluation_speed --run DIR --data DIR`.

The figures first, on synthetic detections: seconds and peak memory of `evaluate`,
which makes all that get_map.py shows, each time in a process of its own. Then, of a run, the
prediction part of get_map.py from files to boxes, beside the bare network, weights as constants, on
random batches that lie in memory: batch by batch size, and the ratio to the best of them.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.timing import interleaved, median_ratio, peak_gib, report
from utils import cli

if TYPE_CHECKING:
    from utils.data.annotation import Sample
    from utils.inference.detections import Detections

CLASSES = 20
PHOTO = (375, 500)
BATCH_SIZES = (1, 2, 4, 8, 16)
BARE_IMAGES = 32  # of the bare network, a round and batch size


def main(args: argparse.Namespace) -> None:
    """Measures the figures and, with a run, its predictions."""
    rows = [metric_row(args)]
    if args.run:
        rows += prediction_rows(args)
    title = f"{args.repeats} repeats, medians"
    if args.run:
        title += f", {args.run} on {args.set} of {args.data}"
    report(title, rows, args.out)


def metric_row(args: argparse.Namespace) -> dict[str, object]:
    """The whole metric computation, to be measured before TensorFlow is imported.

    A process inherits the peak of the one that starts it.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        jobs = [pool.submit(score, args.images, args.detections, i) for i in range(args.repeats)]
        seconds, before, peaks = zip(*(job.result() for job in jobs), strict=True)
    return {
        "what": f"figures of {args.images} images with {args.detections} detections each",
        "seconds": round(statistics.median(seconds), 2),
        "images/s": round(args.images / statistics.median(seconds)),
        "times the best bare network": "",
        "peak GiB": round(max(peaks), 2),
        "GiB before": round(max(before), 2),
    }


def score(images: int, detections: int, seed: int) -> tuple[float, float, float]:
    """Scores a synthetic set.

    Returns:
        Seconds, and the peak memory in GiB before and after. The first is what libraries, ground
        truth and detections take.
    """
    from utils.evaluation.metrics import evaluate

    samples, found = synthetic_set(images, detections, seed)
    classes = [str(label) for label in range(CLASSES)]
    before = peak_gib(resource.getrusage(resource.RUSAGE_SELF))
    start = time.perf_counter()
    evaluate(samples, found, classes)
    seconds = time.perf_counter() - start
    return seconds, before, peak_gib(resource.getrusage(resource.RUSAGE_SELF))


def synthetic_set(
    images: int, detections: int, seed: int
) -> tuple[list["Sample"], list["Detections"]]:
    """Photos with one to five objects each, a tenth of them difficult, and what was found there.

    Half of the detections lie near an object and have its class, as a detector's do at the low
    scores that mAP is measured from; the others are anywhere and of any class.
    """
    import numpy as np

    from utils.data.annotation import Sample
    from utils.inference.detections import Detections

    rng = np.random.default_rng(seed)
    height, width = PHOTO

    def boxes(count: int) -> np.ndarray:
        corners = rng.uniform(0, 1, (count, 2, 2)) * (width, height)
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)

    samples, found = [], []
    for image in range(images):
        objects = boxes(rng.integers(1, 6))
        labels = rng.integers(0, CLASSES, len(objects), dtype=np.int32)
        difficult = rng.random(len(objects)) < 0.1
        samples.append(Sample(str(image), Path(), objects, labels, difficult, width, height))
        near = rng.random(detections) < 0.5
        nearest = rng.integers(0, len(objects), detections)
        moved = np.sort(
            objects[nearest].reshape(-1, 2, 2) + rng.normal(0, 15, (detections, 2, 2)), 1
        )
        found.append(
            Detections(
                np.where(near[:, None], moved.reshape(-1, 4), boxes(detections)).astype(np.float32),
                np.sort(rng.random(detections, dtype=np.float32))[::-1],
                np.where(near, labels[nearest], rng.integers(0, CLASSES, detections)),
            )
        )
    return samples, found


def prediction_rows(args: argparse.Namespace) -> list[dict[str, object]]:
    """From files to boxes as get_map.py does it, and the network alone at each batch size.

    Seconds are those of the whole set, to which the network's are scaled up.
    """
    cli.import_tensorflow()
    import numpy as np
    import tensorflow as tf

    import get_map
    from benchmarks.bare_network import bare_network
    from utils.evaluation.evaluator import predict_samples

    flags = ["--run", str(args.run), "--data", str(args.data), "--set", args.set]
    settings = get_map.build_parser().parse_args(flags)
    run, samples = get_map._load(settings)
    batch_size = min(get_map.BATCH_SIZE, len(samples))
    predictor = run.predictor(settings.conf, settings.nms_iou, batch_size=batch_size)
    detector, rng = run.detector, np.random.default_rng(0)

    def bare(batch: int) -> Callable[[], None]:
        shape = (batch, *detector.input_size, 3)
        canvases = tf.constant(rng.integers(0, 256, shape, np.uint8))
        graph = bare_network(detector, batch, constants=True)

        def work() -> None:
            for _ in range(BARE_IMAGES // batch):
                graph(canvases).numpy()

        return work

    part = f"prediction part, batch {batch_size}"
    works = {part: lambda: predict_samples(predictor, samples, progress=False)}
    works |= {f"bare network, batch {batch}": bare(batch) for batch in BATCH_SIZES}
    counts = dict.fromkeys(works, BARE_IMAGES) | {part: len(samples)}
    seconds = {
        name: [each / counts[name] for each in its]
        for name, its in interleaved(works, args.repeats, warm_up=1).items()
    }
    best = min(list(works)[1:], key=lambda name: statistics.median(seconds[name]))
    return [
        {
            "what": name,
            "seconds": round(len(samples) * statistics.median(its), 2),
            "images/s": round(1 / statistics.median(its), 1),
            "times the best bare network": round(median_ratio(seconds, name, best), 2),
            "peak GiB": "",
            "GiB before": "",
        }
        for name, its in seconds.items()
    ]


def build_parser() -> cli.Parser:
    """The flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--run", type=Path, help="run directory, without it the figures alone are timed")
    add("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit, default %(default)s")
    add("--set", default="test", help="image set, default %(default)s")
    add("--images", type=cli.positive, default=8000, help="synthetic ones, default %(default)s")
    add("--detections", type=cli.positive, default=100, help="an image, default %(default)s")
    add("--repeats", type=cli.positive, default=5, help="default %(default)s")
    add("--out", type=Path, help="also write the table as JSON")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
