"""What recipes reach on a test set: `python -m benchmarks.final_scores NAME=DIR@SIZE --minutes M`.

Each recipe is trained by train.py for as many minutes from as many seeds, and the weights that are
best on validation images are scored on the test set once. The table has medians over the seeds;
what was trained is not trained again.
"""

import argparse
import statistics
from pathlib import Path

from tqdm import tqdm

from benchmarks.data_sets import parse_set
from benchmarks.timing import keep_settings, report
from benchmarks.train_and_score import Trained, preset_of, train_and_score
from utils import cli


def main(args: argparse.Namespace) -> None:
    """Trains and scores what is missing, and prints the table."""
    one = args.set
    settings = {name: getattr(args, name) for name in ("minutes", "weights", "train_set")}
    out = args.out / f"{one.name}@{one.size}"
    for recipe in args.recipes:
        keep_settings(out / recipe, settings | {"data": one.data, "preset": preset_of(recipe)})
    shared = ["--input-size", one.size, "--weights", args.weights, "--max-minutes", args.minutes]
    if args.train_set:
        shared += ["--train-set", args.train_set]
    jobs = [(recipe, seed) for seed in range(args.seeds) for recipe in args.recipes]
    trained: dict[str, list[Trained]] = {recipe: [] for recipe in args.recipes}
    for recipe, seed in tqdm(jobs, unit="run"):
        flags = [*shared, "--recipe", recipe, "--seed", seed]
        trained[recipe].append(train_and_score(out / recipe / str(seed), one.data, flags))
    precisions = sorted({run.precision for runs in trained.values() for run in runs})
    title = (
        f"{one.name} at {one.size}, {args.minutes:g} minutes in {'/'.join(precisions)} "
        f"from {Path(args.weights).name}"
    )
    report(title, [_row(recipe, runs) for recipe, runs in trained.items()], out / "scores.json")


def _row(recipe: str, runs: list[Trained]) -> dict[str, object]:
    """The figures of a recipe over its seeds."""
    scores = {
        "mAP50": [run.scores["voc"]["map"] for run in runs],
        "mAP": [run.scores["coco"]["map"] for run in runs],
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
    """The flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("set", type=parse_set, metavar="NAME=DIR@SIZE", help="a VOCdevkit and its input size")
    add("--recipes", nargs="+", default=["default"], metavar="NAME", help="default %(default)s")
    add("--minutes", type=cli.above_zero, default=20, help="a run, default %(default)s")
    add("--seeds", type=cli.positive, default=1, help="from 0, default %(default)s")
    add("--train-set", metavar="SETS", help="as train.py has it")
    add("--weights", required=True, metavar="FILE", help="pretrained, as train.py has it")
    add("--out", type=Path, default=Path("logs/final-scores"), help="default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
