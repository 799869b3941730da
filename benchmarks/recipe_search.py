"""What each setting of the recipe is worth: `python -m benchmarks.recipe_search NAME=DIR@SIZE ...`.

Trains the default recipe and variants of it, each different in one thing, on the same images from
the same seeds, and tells by how much each is better or worse on validation images; no test set is
read. A run is on one core, as many at once as there are cores, and a budget is a number of images:
so it does not matter how fast the machine is meanwhile. Steps with a frozen backbone and smaller
images count for less, so variants with more of them see more images. Runs that are done are not
repeated.
"""

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tqdm import tqdm

from benchmarks.data_sets import DataSet, parse_set
from benchmarks.timing import keep_settings, report
from benchmarks.train_and_score import preset_of
from utils import cli
from utils.errors import JobError, UserError

if TYPE_CHECKING:  # --help must not wait for Keras
    from utils.config import Recipe

DEFAULT = "default"
VALIDATIONS = 5
HELD_OUT = 0.25  # more than train.py's, of small sets: to judge by, not to get the most out of them
LIMIT = 2 * 3600  # seconds after which a run is taken for hung
FROZEN_COST = 0.7  # of a step with a frozen backbone, from benchmarks/training_speed.py


def variants() -> dict[str, Callable]:
    """What is compared: a preset -> another one, by name."""
    from nets.versions import with_neighbours
    from utils.data.augment import Augmentation
    from utils.training.recipes import RECIPES, USUAL

    def recipe(**changes: object) -> Callable:
        return lambda p: dataclasses.replace(p, recipe=dataclasses.replace(p.recipe, **changes))

    def augmentation(**changes: object) -> Callable:
        def change(preset):
            varied = dataclasses.replace(preset.recipe.augmentation, **changes)
            return recipe(augmentation=varied)(preset)

        return change

    def version(**changes: object) -> Callable:
        return lambda p: dataclasses.replace(
            p, adapt=lambda v: dataclasses.replace(with_neighbours(v), **changes)
        )

    return {
        DEFAULT: lambda preset: preset,
        "fast": lambda _: RECIPES["fast"],
        "classic": lambda _: RECIPES["classic"],
        "no frozen phase": recipe(freeze_share=0.0),
        "frozen for 0.2": recipe(freeze_share=0.2),
        "learning rate 5e-4": recipe(learning_rate=5e-4),
        "learning rate 2e-3": recipe(learning_rate=2e-3),
        "one size of images": recipe(small_share=0.0),
        "float32": recipe(precision="float32"),
        "batch 4": recipe(batch_size=4),
        "batch 16": recipe(batch_size=16),
        "SGD 0.01": recipe(optimizer="sgd", learning_rate=1e-2, weight_decay=5e-4),
        "SGD 0.1": recipe(optimizer="sgd", **USUAL["sgd"]),
        "weight decay 0.01": recipe(weight_decay=0.01),
        "no moving average": recipe(ema_momentum=0.0),
        "no mosaic": augmentation(mosaic=0.0),
        "mosaic 0.6": augmentation(mosaic=0.6),
        "mosaic to the end": recipe(mosaic_share=1.0),
        "strong augmentation": recipe(augmentation=Augmentation()),
        "published anchors": lambda p: dataclasses.replace(p, own_anchors=False),
        "published anchors, class weight 8": lambda p: dataclasses.replace(
            version(class_weight=8.0)(p), own_anchors=False
        ),
        "one cell an object": lambda p: dataclasses.replace(p, adapt=lambda version: version),
        "anchors from IoU 0.1": version(match_iou=0.1),
        "anchors from IoU 0.4": version(match_iou=0.4),
        "best anchor alone": version(match_iou=1.0),
        "box weight 0.05": version(box_weight=0.05),
        "box weight 0.2": version(box_weight=0.2),
        "box weight 0.4": version(box_weight=0.4),
        "objectness weight 0.5": version(objectness_weight=0.5),
        "class weight 2": version(class_weight=2.0),
        "class weight 8": version(class_weight=8.0),
    }


def main(args: argparse.Namespace) -> None:
    """Trains what is missing and prints the table."""
    if args.child:
        train_variant(args)
        return
    settings = ("images", "backbone", "yolo", "weights")
    kept = {name: getattr(args, name) for name in settings} | {"preset": preset_of(DEFAULT)}
    for one in args.sets:
        keep_settings(args.out / f"{one.name}@{one.size}", kept | {"data": one.data})
    names = list(dict.fromkeys([DEFAULT, *(args.variants or variants())]))
    for name in names:
        if name not in variants():
            raise UserError(f"no variant {name!r}, {cli.did_you_mean(name, variants())}")
    jobs = [(name, one, seed) for seed in range(args.seeds) for one in args.sets for name in names]
    cores: SimpleQueue[int] = SimpleQueue()
    for core in sorted(os.sched_getaffinity(0)):
        cores.put(core)
    with ThreadPoolExecutor(cores.qsize()) as pool:
        work = [pool.submit(_run, args, job, cores) for job in jobs]
        try:
            for future in tqdm(work, unit="run"):
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
    results = {
        job: json.loads((_folder(args.out, *job) / "result.json").read_text()) for job in jobs
    }
    rows = [_row(name, names, args, results) for name in names]
    title = (
        f"{args.backbone} {args.yolo}, {args.images} images a run, {args.seeds} seeds, "
        + ", ".join(f"{one.name} at {one.size}" for one in args.sets)
    )
    report(title, rows, args.out / "recipes.json")


def train_variant(args: argparse.Namespace) -> None:
    """Trains one variant, as train.py does."""
    import train
    from utils.training.recipes import RECIPES

    (one,) = args.sets
    base = RECIPES[DEFAULT]
    RECIPES[DEFAULT] = preset = variants()[args.child](base)
    cli.import_tensorflow()
    from utils.data import imagesets
    from utils.data.annotation import read_training_samples
    from utils.training.session import prepare
    from utils.training.session import train as train_session

    imagesets.HELD_OUT = HELD_OUT

    samples, _ = read_training_samples(one.data, None, None, args.seeds)
    size = cli.parse_size(one.size)
    images = args.images * cost(base.recipe, size) / cost(preset.recipe, size)
    flags = train.build_parser().parse_args(
        [
            *("--data", str(one.data), "--input-size", one.size),
            *("--backbone", args.backbone, "--yolo", args.yolo, "--weights", args.weights),
            *("--seed", str(args.seeds), "--run", str(args.out)),
        ]
    )
    session = prepare(flags)
    recipe = dataclasses.replace(
        session.config.recipe, epochs=images / len(samples), validations=VALIDATIONS
    )
    config = dataclasses.replace(session.config, recipe=recipe)
    train_session(dataclasses.replace(session, config=config), train.STARTED)


def cost(recipe: "Recipe", input_size: tuple[int, int]) -> float:
    """Time of a recipe's image beside one of full size that trains the whole network."""
    from utils.training.schedule import image_size, is_frozen

    total, parts = 0.0, 1000
    for share in (part / parts for part in range(parts)):
        height, width = image_size(recipe, share, input_size)
        area = height * width / (input_size[0] * input_size[1])
        total += area * (FROZEN_COST if is_frozen(recipe, share) else 1)
    return total / parts


def _run(args: argparse.Namespace, job: tuple[str, DataSet, int], cores: SimpleQueue[int]) -> None:
    folder = _folder(args.out, *job)
    if (folder / "result.json").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    name, one, seed = job
    core = cores.get()
    command = [
        *("taskset", "-c", str(core), sys.executable, "-m", "benchmarks.recipe_search"),
        f"{one.name}={one.data}@{one.size}",
        *("--child", name, "--seeds", str(seed), "--out", str(folder)),
        *("--backbone", args.backbone, "--yolo", args.yolo, "--weights", args.weights),
        *("--images", str(args.images)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    finally:
        cores.put(core)
    if done.returncode:
        last = [f"exit code {done.returncode}", *done.stderr.strip().splitlines()][-1]
        raise JobError(f"{name} on {one.name}, seed {seed}: {last}")


def _folder(out: Path, name: str, one: DataSet, seed: int) -> Path:
    return out / f"{one.name}@{one.size}" / name.replace(" ", "-") / str(seed)


def _row(name: str, names: list[str], args: argparse.Namespace, results: dict) -> dict:
    """Means of a variant, and its gain over the default on the same sets and seeds."""
    row: dict[str, object] = {"variant": name}
    gains = []
    for one in args.sets:
        pairs = [
            (results[name, one, seed], results[DEFAULT, one, seed]) for seed in range(args.seeds)
        ]
        for key, label in (("best_map50", "mAP50"), ("best_map", "mAP")):
            row[f"{one.name} {label}"] = f"{statistics.mean(own[key] for own, _ in pairs):.3f}"
        gains += [own["best_map"] - base["best_map"] for own, base in pairs]
    row["gain in mAP"] = f"{statistics.mean(gains):+.3f} ({min(gains):+.3f} to {max(gains):+.3f})"
    return row


def build_parser() -> cli.Parser:
    """The flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("sets", nargs="+", type=parse_set, metavar="NAME=DIR@SIZE", help="VOCdevkits")
    add("--variants", nargs="+", metavar="NAME", help="default: all")
    add("--images", type=cli.positive, default=4000, help="images a run, default %(default)s")
    add("--seeds", type=int, default=1, help="runs a variant and set, default %(default)s")
    add("--backbone", default="mobilenetv2", help="default %(default)s")
    add("--yolo", default="v4", help="default %(default)s")
    add("--weights", required=True, metavar="FILE", help="pretrained; random ones never freeze")
    add("--out", type=Path, default=Path("logs/recipe-search"), help="default %(default)s")
    add("--child", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
