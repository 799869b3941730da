"""Measures each setting of the recipe: `python -m benchmarks.recipe_search NAME=DIR@SIZE ...`.

Trains the default recipe and variants that differ from it in one setting, on the same images and
seeds, and compares their mAP on validation images. Does not read the test set. Each run uses one
core, and its length is a number of images, so the load of the machine does not matter. Steps with a
frozen backbone or smaller images are cheaper, so variants with more of them train on more images.
Variants of `STEP_COSTS` train as long as the default, not on as many images. Finished runs are
not repeated.
"""

import argparse
import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data_sets import DataSet, parse_set
from benchmarks.one_core_runs import child_command, cost, run_on_cores
from benchmarks.recipe_variants import DEFAULT, STEP_COSTS, VARIANTS
from benchmarks.timing import keep_settings, report
from benchmarks.train_and_score import preset_of
from nets.versions import VERSIONS
from utils import cli
from utils.errors import JobError, UserError
from utils.text import did_you_mean
from utils.training.recipes import RECIPES, learning_rate_for
from utils.training.settings import TrainingSettings

STARTED = time.monotonic()
VALIDATIONS = 5
VALIDATION_FRACTION = 0.25  # more than in train.py, to compare variants more precisely
TIMEOUT = 2 * 3600  # seconds after which a run is considered hung


@dataclass(frozen=True)
class Job:
    """One run of the search.

    Attributes:
        variant: Name of the variant.
        data_set: The dataset to train on.
        seed: Seed of the run.
    """

    variant: str
    data_set: DataSet
    seed: int

    def folder(self, out: Path) -> Path:
        """Returns the run directory within the folder of all results."""
        name = f"{self.data_set.name}@{self.data_set.size}"
        return out / name / self.variant.replace(" ", "-") / str(self.seed)


def main(args: argparse.Namespace) -> None:
    """Trains the missing runs and prints the table."""
    if args.child:
        train_variant(args)
        return
    settings = ("images", "backbone", "yolo", "weights")
    kept = {name: getattr(args, name) for name in settings} | {"preset": preset_of(DEFAULT)}
    for data_set in args.sets:
        folder = args.out / f"{data_set.name}@{data_set.size}"
        keep_settings(folder, kept | {"data": data_set.data})
    names = list(dict.fromkeys([DEFAULT, *(args.variants or VARIANTS)]))
    for name in names:
        if name not in VARIANTS:
            raise UserError(f"no variant {name!r}, {did_you_mean(name, VARIANTS)}")
    seeds = range(args.seeds)
    jobs = [Job(name, data_set, seed) for seed in seeds for data_set in args.sets for name in names]
    cli.import_tensorflow()
    from utils.run import RunDirectory

    run_on_cores(lambda job, core: run_job(args, job, core), jobs, "run")
    results = {
        job: json.loads(RunDirectory(job.folder(args.out)).result.read_text()) for job in jobs
    }
    title = (
        f"{args.backbone} {args.yolo}, {args.images} images per run, {args.seeds} seeds, "
        + ", ".join(f"{data_set.name} at {data_set.size}" for data_set in args.sets)
    )
    rows = [variant_row(name, args.sets, args.seeds, results) for name in names]
    report(title, rows, args.out / "recipes.json")


def run_job(args: argparse.Namespace, job: Job, core: int) -> None:
    """Trains one variant in its own process on one core, unless its result already exists.

    Raises:
        JobError: The training failed.
    """
    from utils.run import RunDirectory

    folder, data_set = job.folder(args.out), job.data_set
    if RunDirectory(folder).result.is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "benchmarks.recipe_search"),
        f"{data_set.name}={data_set.data}@{data_set.size}",
        *("--child", job.variant, "--seed", str(job.seed), "--out", str(folder)),
        *("--backbone", args.backbone, "--yolo", args.yolo, "--weights", args.weights),
        *("--images", str(args.images)),
    ]
    name = f"{job.variant} on {data_set.name}, seed {job.seed}"
    try:
        done = subprocess.run(
            child_command(command, core),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        hours = f"{TIMEOUT / 3600:g} hours"
        raise JobError(f"{name}: not done after {hours}, use fewer --images") from error
    if done.returncode:
        last = [f"exit code {done.returncode}", *done.stderr.strip().splitlines()][-1]
        raise JobError(f"{name}: {last}")


def train_variant(args: argparse.Namespace) -> None:
    """Trains one variant in this process; `--out` is the run directory."""
    (data_set,) = args.sets
    base, preset = RECIPES[DEFAULT], VARIANTS[args.child](RECIPES[DEFAULT])
    size = cli.parse_size(data_set.size)
    images = args.images * cost(base.recipe, size) / cost(preset.recipe, size)
    images /= STEP_COSTS.get(args.child, 1.0)
    cli.import_tensorflow()
    from utils.data.annotation import read_samples
    from utils.data.classes import find_classes
    from utils.data.splits import resolve_splits
    from utils.training.job import train
    from utils.training.session import prepare

    refs = resolve_splits(data_set.data, seed=args.seed, held_out=VALIDATION_FRACTION).train
    samples, _ = read_samples(refs, find_classes(refs))
    version = preset.adapt(VERSIONS[args.yolo])
    settings = TrainingSettings(
        backbone=args.backbone,
        version=version,
        input_size=size,
        recipe=dataclasses.replace(
            preset.recipe,
            epochs=images / len(samples),
            learning_rate=learning_rate_for(preset.recipe, version),
            validations=VALIDATIONS,
            seed=args.seed,
        ),
        cluster_anchors=preset.cluster_anchors,
        data=data_set.data,
        weights=args.weights,
        held_out=VALIDATION_FRACTION,
        run=args.out,
    )
    with prepare(settings) as session:
        train(session, STARTED)


def variant_row(name: str, sets: list[DataSet], seeds: int, results: dict[Job, dict]) -> dict:
    """Returns means of a variant, and its gain over the default on the same sets and seeds."""
    row: dict[str, object] = {"variant": name}
    gains = []
    for data_set in sets:
        own, base = (
            [results[Job(variant, data_set, seed)] for seed in range(seeds)]
            for variant in (name, DEFAULT)
        )
        for key, label in (("best_map50", "mAP50"), ("best_map", "mAP")):
            column = label if len(sets) == 1 else f"{data_set.name} {label}"
            row[column] = f"{statistics.mean(run[key] for run in own):.3f}"
        gains += [run["best_map"] - other["best_map"] for run, other in zip(own, base, strict=True)]
    row["gain in mAP"] = f"{statistics.mean(gains):+.3f} ({min(gains):+.3f} to {max(gains):+.3f})"
    return row


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("sets", nargs="+", type=parse_set, metavar="NAME=DIR@SIZE", help="VOCdevkits")
    add("--variants", nargs="+", metavar="NAME", help="default: all")
    add("--images", type=cli.positive, default=4000, help="images per run, default %(default)s")
    add(
        "--seeds",
        type=cli.positive,
        default=1,
        help="runs per variant and set, default %(default)s",
    )
    add("--backbone", default="mobilenetv2", help="default %(default)s")
    add("--yolo", choices=tuple(VERSIONS), default="v4", help="default %(default)s")
    add(
        "--weights",
        required=True,
        metavar="FILE",
        help="pretrained weights, as in train.py",
    )
    add("--out", type=Path, default=Path("logs/recipe-search"), help="default %(default)s")
    add("--child", help=argparse.SUPPRESS)
    add("--seed", type=cli.seed, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
