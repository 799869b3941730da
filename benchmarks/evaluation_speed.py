"""Measures how long an evaluation takes: `python -m benchmarks.evaluation_speed --run DIR`.

First measures the seconds and the peak memory of `evaluate` on synthetic detections, in sets of
several sizes, with each repeat in its own process. With --run, also measures the prediction part of
get_map.py, from files to boxes. It is compared with the network alone at several batch sizes, with
weights as constants, on random batches in memory. One column is the ratio to the fastest of these.
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
    from nets.detector import Detector
    from utils.data.samples import Sample
    from utils.inference.detections import Detections

CLASSES = 20
IMAGE_SIZE = (375, 500)  # height and width of the synthetic images
BATCH_SIZES = (1, 2, 4, 8, 16)
BARE_IMAGES = 32  # images per round and batch size of the bare network


def main(args: argparse.Namespace) -> None:
    """Measures `evaluate` and, if there is a run, its predictions."""
    rows = [evaluate_row(images, args.detections, args.repeats) for images in args.images]
    title = f"{args.repeats} repeats, medians"
    if args.run:
        rows += prediction_rows(args.run, args.data, args.set, args.repeats)
        title += f", {args.run} on {args.set} of {args.data}"
    report(title, rows, args.out)


def evaluate_row(images: int, detections: int, repeats: int) -> dict[str, object]:
    """Measures `evaluate`.

    Must be called before TensorFlow is imported, since a process inherits the memory peak of its
    parent.

    Args:
        images: Number of synthetic images.
        detections: Number of detections per image.
        repeats: Number of repeats.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        jobs = [pool.submit(measure_evaluate, images, detections, seed) for seed in range(repeats)]
        seconds, cpu, before, peaks = zip(*(job.result() for job in jobs), strict=True)
    return {
        "what": f"metrics of {images} images with {detections} detections each",
        "seconds": round(statistics.median(seconds), 2),
        "CPU seconds": round(statistics.median(cpu), 2),
        "images/s": round(images / statistics.median(seconds)),
        "ratio to the best bare network": "",
        "peak GiB": round(max(peaks), 2),
        "GiB before": round(max(before), 2),
    }


def measure_evaluate(images: int, detections: int, seed: int) -> tuple[float, float, float, float]:
    """Scores a synthetic set once.

    Returns:
        Seconds, seconds of the processor, and the memory peaks in GiB before and after. Before,
        only libraries, ground truth and detections take memory.
    """
    from utils.evaluation.metrics import evaluate

    samples, detected = synthetic_set(images, detections, seed)
    classes = [str(label) for label in range(CLASSES)]
    before = peak_gib(resource.getrusage(resource.RUSAGE_SELF))
    start, cpu = time.perf_counter(), time.process_time()
    evaluate(samples, detected, classes)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return seconds, cpu, before, peak_gib(resource.getrusage(resource.RUSAGE_SELF))


def synthetic_set(
    images: int, detections: int, seed: int
) -> tuple[list["Sample"], list["Detections"]]:
    """Makes samples with one to five objects each, a tenth of them difficult, and detections.

    Half of the detections are near an object and have its class, like those of a detector at the
    low minimum score for mAP. The others have random boxes and classes.
    """
    import numpy as np

    from utils.data.samples import Sample
    from utils.inference.detections import Detections

    rng = np.random.default_rng(seed)
    height, width = IMAGE_SIZE

    def random_boxes(count: int) -> np.ndarray:
        corners = rng.uniform(0, 1, (count, 2, 2)) * (width, height)
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)

    samples, detected = [], []
    for image in range(images):
        objects = random_boxes(rng.integers(1, 6))
        labels = rng.integers(0, CLASSES, len(objects), dtype=np.int32)
        difficult = rng.random(len(objects)) < 0.1
        samples.append(Sample(str(image), Path(), objects, labels, difficult, width, height))
        is_near = rng.random(detections) < 0.5
        nearest = rng.integers(0, len(objects), detections)
        moved = np.sort(
            objects[nearest].reshape(-1, 2, 2) + rng.normal(0, 15, (detections, 2, 2)), 1
        )
        boxes = np.where(is_near[:, None], moved.reshape(-1, 4), random_boxes(detections))
        detected.append(
            Detections(
                boxes.astype(np.float32),
                np.sort(rng.random(detections, dtype=np.float32))[::-1],
                np.where(is_near, labels[nearest], rng.integers(0, CLASSES, detections)),
            )
        )
    return samples, detected


def prediction_rows(
    run_path: Path, data: Path, image_set: str, repeats: int
) -> list[dict[str, object]]:
    """Measures the prediction part of get_map.py, and the network alone at each batch size.

    The seconds of the network alone are scaled to the number of images in the set.
    """
    from utils.data.imagesets import list_images
    from utils.evaluation.evaluator import predict_samples
    from utils.evaluation.settings import BATCH_SIZE, THRESHOLDS
    from utils.evaluation.testset import read_test_set

    refs = list_images(data, image_set)
    cli.import_tensorflow()
    from utils.run import load_run

    run = load_run(run_path)
    samples = read_test_set(refs, run.classes, image_set, data)
    batch_size = min(BATCH_SIZE, len(samples))
    predictor = run.predictor(THRESHOLDS, batch_size)

    part = f"prediction by get_map.py, batch {batch_size}"
    functions = {part: lambda: predict_samples(predictor, samples, progress=False)}
    functions |= {
        f"bare network, batch {n}": make_bare_function(run.detector, n) for n in BATCH_SIZES
    }
    counts = dict.fromkeys(functions, BARE_IMAGES) | {part: len(samples)}
    seconds_per_image = {
        name: [seconds / counts[name] for seconds in measured]
        for name, measured in interleaved(functions, repeats, warm_up=1).items()
    }
    medians = {name: statistics.median(measured) for name, measured in seconds_per_image.items()}
    best = min(list(functions)[1:], key=medians.get)
    return [
        {
            "what": name,
            "seconds": round(len(samples) * median, 2),
            "CPU seconds": "",
            "images/s": round(1 / median, 1),
            "ratio to the best bare network": round(median_ratio(seconds_per_image, name, best), 2),
            "peak GiB": "",
            "GiB before": "",
        }
        for name, median in medians.items()
    ]


def make_bare_function(detector: "Detector", batch_size: int) -> Callable[[], None]:
    """Makes a function that runs the network alone on `BARE_IMAGES` random images."""
    import numpy as np
    import tensorflow as tf

    from benchmarks.bare_network import bare_network

    shape = (batch_size, *detector.input_size, 3)
    images = tf.constant(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    graph = bare_network(detector, batch_size, constants=True)

    def run_bare() -> None:
        for _ in range(BARE_IMAGES // batch_size):
            graph(images).numpy()

    return run_bare


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    default = "(default: %(default)s)"
    add("--run", type=Path, help="run directory, to also measure its predictions")
    add("--data", type=Path, default=Path("VOCdevkit"), help=f"VOC devkit folder {default}")
    add("--set", default="test", help=f"image set {default}")
    add(
        "--images",
        type=cli.positive,
        nargs="+",
        default=[8000, 50_000],
        help=f"numbers of synthetic images {default}",
    )
    add("--detections", type=cli.positive, default=100, help=f"detections per image {default}")
    add("--repeats", type=cli.positive, default=5, help=f"repeats {default}")
    add("--out", type=Path, help="also write the table to this JSON file")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
