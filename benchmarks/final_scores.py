"""Scores recipes on a test set: `python -m benchmarks.final_scores NAME=DIR@SIZE --minutes M`.

Trains each recipe with train.py for the same time with several seeds. Scores the weights with the
best validation once on the test set, with get_map.py. The table has medians over the seeds.
Finished runs are not repeated.
"""

import argparse
import statistics
from pathlib import Path

from tqdm import tqdm

from benchmarks.data_sets import parse_set
from benchmarks.timing import keep_settings, report
from benchmarks.train_and_score import Trained, preset_of, score_on_test, train
from utils import cli


def main(args: argparse.Namespace) -> None:
    """Trains and scores the missing runs, and prints the table."""
    data_set = args.set
    settings = {name: getattr(args, name) for name in ("minutes", "weights", "train_set")}
    out = args.out / f"{data_set.name}@{data_set.size}"
    for recipe in args.recipes:
        keep_settings(out / recipe, settings | {"data": data_set.data, "preset": preset_of(recipe)})
    shared = [
        "--input-size",
        data_set.size,
        "--weights",
        args.weights,
        "--max-minutes",
        args.minutes,
    ]
    if args.train_set:
        shared += ["--train-set", args.train_set]
    jobs = [(recipe, seed) for seed in range(args.seeds) for recipe in args.recipes]
    trained: dict[str, list[tuple[Trained, dict]]] = {recipe: [] for recipe in args.recipes}
    for recipe, seed in tqdm(jobs, unit="run"):
        flags = [*shared, "--recipe", recipe, "--seed", seed]
        folder = out / recipe / str(seed)
        run = train(folder, data_set.data, flags)
        trained[recipe].append((run, score_on_test(folder, data_set.data)))
    precisions = sorted({run.precision for runs in trained.values() for run, _ in runs})
    title = (
        f"{data_set.name} at {data_set.size}, {args.minutes:g} minutes in {'/'.join(precisions)} "
        f"from {Path(args.weights).name}"
    )
    report(title, [_row(recipe, runs) for recipe, runs in trained.items()], out / "scores.json")


def _row(recipe: str, trained: list[tuple[Trained, dict]]) -> dict[str, object]:
    """Returns the table row of a recipe, from its runs and their scores on the test set."""
    runs = [run for run, _ in trained]
    scores = {
        "mAP50 on test": [each["voc"]["map"] for _, each in trained],
        "mAP on test": [each["coco"]["map"] for _, each in trained],
        "mAP50 on validation": [run.result["best_map50"] for run in runs],
    }
    speeds = [run.result["images_per_second"] for run in runs]
    return {
        "recipe": recipe,
        "seeds": len(runs),
        **{
            name: f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            for name, values in scores.items()
        },
        "epochs": round(statistics.median(run.result["epochs"] for run in runs)),
        "images/s": f"{statistics.median(speeds):.1f}",
    }


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("set", type=parse_set, metavar="NAME=DIR@SIZE", help="a VOCdevkit and its input size")
    add("--recipes", nargs="+", default=["default"], metavar="NAME", help="default %(default)s")
    add("--minutes", type=cli.above_zero, default=20, help="minutes per run, default %(default)s")
    add(
        "--seeds", type=cli.positive, default=1, help="number of seeds, from 0, default %(default)s"
    )
    add("--train-set", metavar="SETS", help="as in train.py")
    add("--weights", required=True, metavar="FILE", help="pretrained weights, as in train.py")
    add("--out", type=Path, default=Path("logs/final-scores"), help="default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
