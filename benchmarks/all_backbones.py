"""Compares all families of backbones: `python -m benchmarks.all_backbones --data DIR`.

Trains each with train.py for the same time, and scores it once on the test set with get_map.py.
Then times the predictions of all in turn, from images in memory to boxes. Prints a table and plots
mAP against latency. Finished runs are not repeated, so the benchmark can be interrupted and
continued.
"""

import argparse
import itertools
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from benchmarks.timing import interleaved, keep_settings, report
from benchmarks.train_and_score import Trained, preset_of, train_and_score
from utils import cli

if TYPE_CHECKING:
    from utils.run import Run

# One or two sizes per family; --backbones accepts others.
FAMILIES = (
    "efficientnetb0",
    "efficientnet_lite0",
    "ghostnet",
    "mobilenetv1",
    "mobilenetv2",
    "mobilenetv3_large",
    "mobilenetv3_small",
    "shufflenetv2",
    "darknet_tiny",
    "cspdarknet_tiny",
)
BATCHES = (1, 8)


def main(args: argparse.Namespace) -> None:
    """Trains and scores the missing runs, times all, and writes the table and the plot."""
    settings = ("data", "yolo", "input_size", "minutes", "weights", "seed")
    kept = {name: getattr(args, name) for name in settings}
    keep_settings(args.out, kept | {"preset": preset_of("default")})
    shared = ["--yolo", args.yolo, "--input-size", args.input_size, "--weights", args.weights]
    shared += ["--seed", args.seed, "--max-minutes", args.minutes]
    trained = {
        name: train_and_score(args.out / name, args.data, ["--backbone", name, *shared])
        for name in tqdm(args.backbones, unit="backbone")
    }
    cli.import_tensorflow()
    from utils.run import load_run

    runs = {name: load_run(run.run) for name, run in trained.items()}
    speeds = time_predictions(runs, args.repeats)
    rows = [backbone_result(name, run, runs[name], speeds[name]) for name, run in trained.items()]
    precisions = sorted({run.precision for run in trained.values()})
    title = (
        f"{args.yolo} at {args.input_size}, {args.minutes:g} minutes each in "
        f"{'/'.join(precisions)} from --weights {args.weights}, seed {args.seed}, "
        f"{args.data.name}; predictions: {args.repeats} interleaved repeats"
    )
    report(title, rows, args.out / "backbones.json")
    draw_scatter(rows, args.out / "backbones.png")


def time_predictions(runs: dict[str, "Run"], repeats: int) -> dict[str, dict[int, float]]:
    """Returns images per second by backbone and batch size, all timed in turn."""
    import numpy as np

    from utils.inference.thresholds import Thresholds

    photo = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    speeds: dict[str, dict[int, float]] = {name: {} for name in runs}
    for batch in BATCHES:
        functions = {}
        for name, run in runs.items():
            predictor = run.predictor(Thresholds(), batch)
            functions[name] = lambda p=predictor, n=batch: p([photo] * n)
        for name, seconds in interleaved(functions, repeats).items():
            speeds[name][batch] = batch / statistics.median(seconds)
    return speeds


def backbone_result(
    name: str, trained: Trained, run: "Run", speeds: dict[int, float]
) -> dict[str, object]:
    """Returns the figures of a backbone."""
    from summary import summarize

    figures = summarize(run.detector)
    return {
        "backbone": name,
        "mAP50": round(trained.scores["voc"]["map"], 3),
        "mAP": round(trained.scores["coco"]["map"], 3),
        "parameters, M": round(figures["params"] / 1e6, 2),
        "GFLOPs": round(figures["gflops"], 2),
        "images/s in training": round(trained.result["images_per_second"], 1),
        "epochs": trained.result["epochs"],
        "peak GiB in training": trained.peak_gib,
        **{f"images/s, batch {batch}": round(speed, 1) for batch, speed in speeds.items()},
    }


def draw_scatter(rows: list[dict[str, object]], path: Path) -> None:
    """Plots mAP50 against the time per image."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    # Names are placed alternately right and left, so that adjacent ones do not overlap.
    sides = itertools.cycle([(7, "left"), (-7, "right")])
    by_score = sorted(rows, key=lambda row: row["mAP50"])
    for row, (offset, side) in zip(by_score, sides, strict=False):
        point = 1e3 / row["images/s, batch 1"], row["mAP50"]
        axes.plot(*point, "o")
        axes.annotate(row["backbone"], point, (offset, -3), textcoords="offset points", ha=side)
    axes.set(xlabel="milliseconds per image, batch 1", ylabel="mAP50 on test")
    axes.set_xlim(0, 1.3 * max(1e3 / row["images/s, batch 1"] for row in rows))  # room for names
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit, default %(default)s")
    add("--backbones", nargs="+", default=FAMILIES, metavar="NAME", help="default: all families")
    add("--yolo", default="v4", help="default %(default)s")
    add("--input-size", default="416", help="N or HxW, default %(default)s")
    add(
        "--minutes",
        type=cli.above_zero,
        default=20,
        help="minutes per training, default %(default)s",
    )
    add("--weights", default="none", help="as in train.py, default %(default)s")
    add("--seed", type=cli.seed, default=0, help="default %(default)s")
    add("--repeats", type=cli.positive, default=20, help="timed predictions, default %(default)s")
    add("--out", type=Path, default=Path("logs/backbones"), help="default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
